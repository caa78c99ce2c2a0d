"""The parts between the readers and Kafka: ids seen before, batches, sources, a pipe, a watched folder."""

import codecs
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.ingest.batches import MAX_BATCH_BYTES, batches
from ops.ingest.fresh import FreshItems
from ops.ingest.items import AnyItem, BadItem, Blank, Item, ItemReason, item_of
from ops.ingest.messages import MessageWriter, root_traceparent
from ops.ingest.progress import ProgressLog, Run
from ops.ingest.readers import Format, Reading, StandardInputReader, WrongFileError
from ops.ingest.sources import STANDARD_INPUT, open_source
from ops.ingest.watch import WatchedFolder
from schemas import codec
from schemas.captions import Caption
from schemas.dead_letters import DeadLetter, DeadLetterKind
from schemas.headers import SOURCE, TRACEPARENT, SourceCoordinates, text_header
from schemas.ingest_progress import IngestProgress
from schemas.topics import Names

NAMES = Names("imgdiff")


def item(position: int, given_id: str | None = None) -> Item:
    return Item(position, b"a dog", "a dog", given_id)


@dataclass
class ListReader:
    """A reader over a list; None is a pause."""

    content: Sequence[AnyItem | Blank | None]
    gives_ids: bool = False
    started_at: list[int] = field(default_factory=list)

    def items(self, start: int) -> Iterator[AnyItem | Blank | None]:
        self.started_at.append(start)
        return (each for each in self.content if each is None or each.position >= start)

    def share_read(self) -> float | None:
        return None


class TestFreshItems:
    def test_a_repeated_id_is_a_bad_item(self) -> None:
        fresh = list(FreshItems(ListReader([item(0, "a"), item(1, "b"), item(2, "a")], True), 0, None, count_all=False))
        repeated = fresh[2]
        assert fresh[:2] == [item(0, "a"), item(1, "b")]
        assert isinstance(repeated, BadItem)
        assert (repeated.reason, repeated.given_id) == (ItemReason.DUPLICATE_ID, "a")

    def test_an_id_given_before_a_restart_is_known(self) -> None:
        reader = ListReader([item(0, "a"), item(1, "b"), item(2, "a")], gives_ids=True)
        fresh = [each for each in FreshItems(reader, 2, None, count_all=False) if each is not None]
        assert [each.position for each in fresh] == [2]
        assert isinstance(fresh[0], BadItem)

    def test_without_ids_what_was_read_is_passed_over_by_the_reader(self) -> None:
        reader = ListReader([item(0), item(1), item(2)])
        fresh = FreshItems(reader, 2, None, count_all=False)
        assert list(fresh) == [item(2)]
        assert reader.started_at == [2]
        assert (fresh.seen, fresh.ended) == (3, True)

    def test_the_limit_is_a_position(self) -> None:
        fresh = FreshItems(ListReader([item(0), item(1), item(2)]), 1, 2, count_all=False)
        assert list(fresh) == [item(1)]
        assert not fresh.ended

    def test_a_source_that_became_shorter_shows(self) -> None:
        fresh = FreshItems(ListReader([item(0), item(1)]), 5, None, count_all=True)
        assert list(fresh) == [None, None]
        assert (fresh.seen, fresh.ended) == (2, True)

    def test_a_blank_line_is_passed_over_and_no_source_has_become_shorter_by_it(self) -> None:
        fresh = FreshItems(ListReader([item(0), Blank(1)]), 0, None, count_all=True)
        assert list(fresh) == [item(0), None]
        assert (fresh.seen, fresh.ended) == (2, True)


class TestBatches:
    @given(content=st.lists(st.booleans(), max_size=30), size=st.integers(1, 7))
    def test_every_item_is_in_one_batch_in_order(self, content: list[bool], size: int) -> None:
        items = [item(position) if real else None for position, real in enumerate(content)]
        found = list(batches(items, size, 1_000, lambda: False))
        assert [each for batch in found for each in batch] == [each for each in items if each is not None]
        assert all(len(batch) == size for batch in found[:-1])
        assert all(found)

    def test_time_ends_a_batch(self) -> None:
        clock = iter(range(100))
        found = batches([item(0), None, None, None, item(1)], 500, 2.0, lambda: False, lambda: float(next(clock)))
        assert [len(batch) for batch in found] == [1, 1]

    def test_bytes_end_a_batch(self) -> None:
        large = Item(0, b"x" * (MAX_BATCH_BYTES // 2), "x")
        assert [len(batch) for batch in batches([large] * 5, 500, 1_000, lambda: False)] == [2, 2, 1]

    def test_stopping_keeps_what_has_been_gathered(self) -> None:
        asked = iter([False, False, True])
        found = list(batches((item(n) for n in range(100)), 500, 1_000, lambda: next(asked)))
        assert [len(batch) for batch in found] == [3]


class TestSources:
    def test_a_file_is_its_content(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a dog\n")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "b.txt").write_text("a dog\n")
        (tmp_path / "c.txt").write_text("a cat\n")
        a, b, c = (open_source(tmp_path / name, Reading()).id for name in ("a.txt", "folder/b.txt", "c.txt"))
        assert a == b != c
        assert a.startswith("text-")

    def test_another_way_of_reading_is_another_source(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text('{"caption": "a dog", "text": "a cat"}\n')
        readings = [
            Reading(),
            Reading(Format.JSON_LINES),
            Reading(Format.JSON_LINES, caption_field="text"),
            Reading(Format.JSON_LINES, id_field="text"),
        ]
        assert len({open_source(path, reading).id for reading in readings}) == 4
        assert open_source(path, Reading()).id == open_source(path, Reading(Format.TEXT)).id

    def test_a_name_stands_for_the_content(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a dog\n")
        source = open_source(tmp_path / "a.txt", Reading(), "coco-2017")
        assert (source.id, source.fixed) == ("coco-2017", False)

    @pytest.mark.parametrize("name", ["", "a b", "a+2", "a/b", "a:b", "x" * 101, "a\n"])
    def test_names_that_can_not_be_part_of_an_id(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(WrongFileError, match="--source"):
            open_source(tmp_path / "a.txt", Reading(), name)

    def test_a_file_that_changes_while_it_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("a dog\n")
        source = open_source(path, Reading())
        source.check_unchanged()
        with path.open("a") as file:
            file.write("a cat\n")
        with pytest.raises(WrongFileError, match="changed while it was read"):
            source.check_unchanged()

    def test_standard_input_without_a_name_is_always_another_source(self) -> None:
        first, second = (open_source(STANDARD_INPUT, Reading()) for _ in range(2))
        assert first.id != second.id
        assert not first.fixed


class TestStandardInput:
    def read(self, *written: bytes | float, reading: Reading | None = None) -> list[AnyItem | Blank | None]:
        """What comes out of a pipe into which these bytes are written, with pauses of these seconds."""
        out, into = os.pipe()

        def run() -> None:
            for each in written:
                if isinstance(each, bytes):
                    os.write(into, each)
                else:
                    time.sleep(each)
            os.close(into)

        writer = threading.Thread(target=run)
        writer.start()
        try:
            return list(StandardInputReader(out, reading or Reading()).items(0))
        finally:
            writer.join()
            os.close(out)

    def test_text(self) -> None:
        found = self.read(b"\na dog\na cat")
        assert [each.caption if isinstance(each, Item) else each for each in found] == [Blank(0), "a dog", "a cat"]

    def test_what_begins_with_a_brace_is_json_lines(self) -> None:
        found = self.read(b'{"caption": "a dog", "id": 4}\n')
        assert found == [Item(0, b'{"caption": "a dog", "id": 4}', "a dog", "4")]

    def test_whatever_blank_stands_before_the_brace(self) -> None:
        found = self.read(codecs.BOM_UTF8 + b"\n", 0.1, b' \n{"caption": "a dog"}\n')
        assert found == [Blank(0), Blank(1), Item(2, b'{"caption": "a dog"}', "a dog")]

    def test_unless_it_is_said_to_be_text(self) -> None:
        found = self.read(b"{a dog}\n", reading=Reading(Format.TEXT))
        assert found == [Item(0, b"{a dog}", "{a dog}")]

    def test_silence_shows(self) -> None:
        found = self.read(b"a dog\n", 0.6, b"a cat\n")
        assert isinstance(found[0], Item)
        assert None in found
        assert isinstance(found[-1], Item)

    def test_nothing_at_all(self) -> None:
        assert self.read() == []

    @pytest.mark.parametrize("kind", [Format.COCO, Format.PARQUET])
    def test_formats_that_need_a_file(self, kind: Format) -> None:
        with pytest.raises(WrongFileError, match="expected text or jsonl"):
            StandardInputReader(0, Reading(kind))


class TestWatchedFolder:
    def test_a_file_counts_once_it_has_been_unchanged(self, tmp_path: Path) -> None:
        watched = WatchedFolder(tmp_path, settled_s=5)
        (tmp_path / "a.txt").write_text("a dog\n")
        assert watched.ready(0) == []
        assert watched.ready(4.9) == []
        (tmp_path / "a.txt").write_text("a dog\na cat\n")
        assert watched.ready(5) == []
        assert watched.ready(9.9) == []
        assert watched.ready(10) == [tmp_path / "a.txt"]
        assert watched.ready(100) == []

    @pytest.mark.parametrize("unfinished", [".a.txt", "a.txt.part", "a.txt.tmp", "a.txt~"])
    def test_a_file_that_is_renamed_counts_at_once(self, tmp_path: Path, unfinished: str) -> None:
        watched = WatchedFolder(tmp_path, settled_s=5)
        (tmp_path / unfinished).write_text("a dog\n")
        assert watched.ready(0) == []
        assert watched.ready(100) == []
        (tmp_path / unfinished).rename(tmp_path / "a.txt")
        assert watched.ready(101) == [tmp_path / "a.txt"]
        assert watched.ready(200) == []

    def test_new_content_counts_again(self, tmp_path: Path) -> None:
        watched = WatchedFolder(tmp_path, settled_s=0)
        (tmp_path / "a.txt").write_text("a dog\n")
        assert watched.ready(0) == [tmp_path / "a.txt"]
        (tmp_path / "a.txt").write_text("a cat and more\n")
        assert watched.ready(1) == [tmp_path / "a.txt"]

    def test_folders_and_what_vanishes_are_left_out(self, tmp_path: Path) -> None:
        watched = WatchedFolder(tmp_path, settled_s=0)
        (tmp_path / "folder").mkdir()
        (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
        assert watched.ready(0) == []

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(WrongFileError, match="expected a folder to watch"):
            WatchedFolder(tmp_path / "absent", 5)


class TestProgress:
    def record(self, source: str, complete: bool = True) -> IngestProgress:
        return IngestProgress(
            id=source,
            caption_id=source,
            source=source,
            name="a.txt",
            position=3,
            ingested=2,
            failed=1,
            complete=complete,
        )

    def test_the_last_reading_of_a_source(self) -> None:
        log = ProgressLog(map(self.record, ["a", "b", "a+2", "a+3"]))
        assert log.last_run("a") == Run("a", 3)
        assert log.last_run("b") == Run("b", 1)
        assert log.last_run("c") == Run("c", 1)
        assert Run("a", 1).next().id == "a+2"

    def test_later_progress_replaces_earlier(self) -> None:
        log = ProgressLog([self.record("a", False), self.record("a", True), self.record("b")])
        found = log.of(Run("a", 1))
        assert found is not None
        assert found.complete
        assert log.ingested == 4


class TestMessages:
    writer = MessageWriter(NAMES, Run("text-0a", 2), "ingest/0.1.0", "0" * 12)

    def test_a_caption(self) -> None:
        message = self.writer.message(item(17, "k"))
        caption = codec.decode(Caption, message.value, text_header(message.headers, "schema"))
        assert message.topic == "imgdiff.captions"
        assert message.key == caption.id.encode() == b"text-0a+2:k"
        assert (caption.caption_id, caption.caption, caption.source, caption.position) == (
            "text-0a+2:k",
            "a dog",
            "text-0a+2",
            17,
        )
        assert SourceCoordinates.parse(text_header(message.headers, SOURCE) or "") == SourceCoordinates(
            "ingest/text-0a+2", 0, 17
        )
        trace = (text_header(message.headers, TRACEPARENT) or "").split("-")
        assert [len(part) for part in trace] == [2, 32, 16, 2]
        assert root_traceparent("text-0a+2:k") == "-".join(trace) != root_traceparent("text-0a+2:l")

    def test_a_dead_letter(self) -> None:
        message = self.writer.message(BadItem(3, b"\xff", ItemReason.NOT_UTF8, "the line is not UTF-8"))
        letter = DeadLetter.parse(message.headers)
        assert (message.topic, message.value) == ("imgdiff.ingest.failed", b"\xff")
        assert (letter.kind, letter.reason, letter.detail) == (
            DeadLetterKind.INVALID,
            "not_utf8",
            "the line is not UTF-8",
        )
        assert str(letter.source) == "ingest/text-0a+2/0/3"
        assert message.key == b"text-0a+2:#3"

    def test_a_dead_letter_is_found_by_the_id_that_the_item_has(self) -> None:
        refused = item_of(3, b"{}", None, 6, field="field `caption`")
        assert self.writer.message(refused).key == b"text-0a+2:6"
        assert isinstance(refused, BadItem)
        nameless = item_of(3, b"{}", None, "#6", field="field `caption`")
        assert self.writer.message(nameless).key == b"text-0a+2:#3"
