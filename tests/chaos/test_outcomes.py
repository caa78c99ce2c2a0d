"""What the checks of a run see: each kind of wrong, and nothing where nothing is."""

from collections.abc import Sequence
from dataclasses import replace

from schemas.headers import OutcomePart
from schemas.topics import BOXES, ROUTES
from tests.chaos.outcomes import Account, Outcome, Wrong, differences

ByStage = dict[str, dict[str, Outcome]]


def account() -> Account:
    """Three inputs of the boxes stage: one became two records, one was rejected, one failed."""
    made = Account(BOXES)
    made.inputs = {f"pairs/0/{n}": {"id": f"pair-{n}", "caption_id": f"c{n}"} for n in range(3)}
    made.outputs["pairs/0/0"] = [(OutcomePart(n, 2), {"id": f"box-{n}", "first": {"sha256": "ab"}}) for n in range(2)]
    made.refused["pairs/0/1"] = ["boxes.rejected: too_alike"]
    made.refused["pairs/0/2"] = ["boxes.failed: crash"]
    return made


def wrong(made: Account) -> set[Wrong]:
    return {finding.wrong for finding in made.findings()}


class TestAccount:
    def test_nothing_is_wrong(self) -> None:
        assert not wrong(account())
        counted = account().counters()
        assert counted.balanced
        assert (counted.consumed, counted.passed, counted.outputs) == (3, 1, 2)
        assert (counted.rejected, counted.failed) == ({"too_alike": 1}, {"crash": 1})

    def test_an_input_without_an_outcome(self) -> None:
        made = account()
        del made.refused["pairs/0/1"]
        assert wrong(made) == {Wrong.LOST}

    def test_a_part_of_an_outcome_is_missing(self) -> None:
        made = account()
        made.outputs["pairs/0/0"].pop()
        assert wrong(made) == {Wrong.LOST}

    def test_an_outcome_stands_twice(self) -> None:
        made = account()
        made.outputs["pairs/0/0"] *= 2
        assert wrong(made) == {Wrong.DOUBLED}

    def test_two_dead_letters(self) -> None:
        made = account()
        made.refused["pairs/0/1"].append("boxes.failed: exception")
        assert wrong(made) == {Wrong.DOUBLED}

    def test_records_and_a_dead_letter(self) -> None:
        made = account()
        made.refused["pairs/0/0"] = ["boxes.rejected: too_alike"]
        assert wrong(made) == {Wrong.DOUBLED}

    def test_an_outcome_of_no_input(self) -> None:
        made = account()
        made.refused["pairs/0/9"] = ["boxes.rejected: too_alike"]
        assert wrong(made) == {Wrong.DOUBLED}

    def test_the_same_record_from_two_inputs(self) -> None:
        made = account()
        made.refused.pop("pairs/0/2")
        made.outputs["pairs/0/2"] = [(OutcomePart(0, 1), {"id": "box-0"})]
        assert wrong(made) == {Wrong.DOUBLED}


def stages() -> ByStage:
    """A caption that passes every stage with one record each."""
    return {
        route.worker: {f"before-{route.worker}": Outcome(caption="c", records=(f"after-{route.worker}",))}
        for route in ROUTES
    }


def found(of: ByStage, removed: dict[str, str] | None = None) -> Sequence[Wrong]:
    return [finding.wrong for finding in differences(of, stages(), removed or {})]


class TestDifferences:
    def test_none(self) -> None:
        assert found(stages()) == []

    def test_another_picture(self) -> None:
        other = stages()
        other["qa"]["before-qa"] = replace(other["qa"]["before-qa"], records=("after-qa 00ff",))
        assert found(other) == [Wrong.DIFFERENT]

    def test_an_input_that_is_not_there(self) -> None:
        other = stages()
        del other["dataset"]["before-dataset"]
        assert found(other) == [Wrong.LOST]

    def test_an_input_that_should_not_be_there(self) -> None:
        other = stages()
        other["edits"]["another"] = Outcome(caption="d")
        assert found(other) == [Wrong.DIFFERENT]

    def test_what_was_meant_to_be_taken_out(self) -> None:
        other = stages()
        other["boxes"]["before-boxes"] = Outcome(caption="c", refused="boxes.failed: crash")
        for later in ("region-captions", "qa", "dataset"):
            other[later].clear()
        assert found(other, {"c": "boxes.failed: crash"}) == []
        assert Wrong.DIFFERENT in found(other, {"c": "boxes.failed: exception"})
        assert found(other) == [Wrong.DIFFERENT, Wrong.LOST, Wrong.LOST, Wrong.LOST]

    def test_what_was_meant_to_be_taken_out_and_was_not(self) -> None:
        assert found(stages(), {"c": "qa.failed: crash"}) == [Wrong.DIFFERENT, Wrong.DIFFERENT]
