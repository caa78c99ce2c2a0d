"""The plan of a run: the same for the same seed, with everything in it."""

from tests.chaos import plan
from tests.chaos.faults import BROKER_FAULTS, KINDS, Family, Fault


def faults_of(legs: list[plan.Leg]) -> list[Fault]:
    return [fault for leg in legs for fault in (*(f for lane in leg.lanes for f in lane), leg.broker) if fault]


def test_a_seed_is_a_plan() -> None:
    assert plan.faults(7, 300) == plan.faults(7, 300)
    assert plan.faults(7, 300) != plan.faults(8, 300)
    assert plan.faults(7, 300)[:20] == plan.faults(7, 20)


def test_every_kind_is_tried_at_every_step_before_any_is_tried_more_often() -> None:
    tried = [(fault.kind.name, fault.step) for fault in plan.faults(1, plan.all_once())]
    for kind in KINDS:
        for step in kind.steps:
            assert tried.count((kind.name, step)) == kind.weight, (kind.name, step)


def test_each_kind_of_fault_of_the_broker_says_what_it_does() -> None:
    assert {kind.name for kind in KINDS if kind.family is Family.BROKER} == set(BROKER_FAULTS)


def test_faults_are_shared_out_and_none_is_left_out() -> None:
    planned = plan.faults(1, 200)
    legs = plan.legs(planned, 3)
    assert sorted(fault.number for fault in faults_of(legs)) == list(range(200))
    assert all(fault.number % 3 == lane for leg in legs for lane, own in enumerate(leg.lanes) for fault in own)


def test_a_fault_is_the_same_whatever_else_is_planned() -> None:
    planned = plan.faults(1, 200)
    alone = [fault for fault in planned if fault.number == 37]
    assert faults_of(plan.legs(alone, 3)) == [planned[37]]
    assert plan.captions(1, plan.batch_of(alone[0], 3)) == plan.captions(1, plan.batch_of(planned[37], 3))


def test_no_stream_is_fed_the_same_captions_twice() -> None:
    for lane in range(3):
        fed = [
            tuple(plan.captions(1, plan.batch_of(fault, 3)))
            for fault in plan.faults(1, 300)
            if fault.kind.family is Family.BROKER or fault.number % 3 == lane
        ]
        assert len(set(fed)) == len(fed)
