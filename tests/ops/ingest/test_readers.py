"""Readers: every item of a file comes exactly once, as a caption or as a bad item, from whatever position one begins."""

import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.ingest.items import MAX_CAPTION_LENGTH, MAX_ORIGINAL_BYTES, AnyItem, BadItem, Blank, Item, ItemReason
from ops.ingest.json_stream import JsonStreamError, list_in_object
from ops.ingest.line_formats import json_line_items, text_items
from ops.ingest.lines import split_lines
from ops.ingest.readers import Format, Reading, WrongFileError, open_file
from schemas.captions import Caption
from schemas.ids import MAX_GIVEN_ID_LENGTH

DEFAULT = Reading()

in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
caption_objects = st.fixed_dictionaries({"caption": st.text() | json_values}, optional={"id": st.text() | json_values})
lines_of_any_kind = st.lists(
    st.one_of(
        st.binary(max_size=40).filter(lambda data: b"\n" not in data),
        st.text(max_size=40).map(lambda text: text.replace("\n", " ").encode()),
        caption_objects.map(lambda value: json.dumps(value).encode()),
    ),
    max_size=12,
)


def in_chunks(data: bytes, size: int) -> Iterable[bytes]:
    return (data[begin : begin + size] for begin in range(0, len(data), size))


def items_of(path: Path, reading: Reading = DEFAULT, start: int = 0) -> list[AnyItem]:
    return [item for item in open_file(path, reading).items(start) if isinstance(item, Item | BadItem)]


def written(tmp_path: Path, name: str, data: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def reasons(items: Iterable[AnyItem]) -> list[ItemReason | None]:
    return [item.reason if isinstance(item, BadItem) else None for item in items]


@given(lines=lines_of_any_kind, chunk=st.integers(1, 64), ended=st.booleans())
def test_lines_are_found_whatever_the_chunks(lines: list[bytes], chunk: int, ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert [line.data for line in split_lines(in_chunks(data, chunk)) if line is not None] == expected


@pytest.mark.parametrize("chunk", [1_000, 65_536, 10_000_000])
def test_a_long_line_is_cut_and_its_neighbours_are_whole(chunk: int) -> None:
    data = b"before\n" + b"x" * (3 * MAX_ORIGINAL_BYTES) + b"\nafter"
    before, long, after = (line for line in split_lines(in_chunks(data, chunk)) if line is not None)
    assert (before.data, after.data) == (b"before", b"after")
    assert (len(long.data), long.length, long.cut) == (MAX_ORIGINAL_BYTES, 3 * MAX_ORIGINAL_BYTES, True)


@pytest.mark.parametrize("format_", [Format.TEXT, Format.JSON_LINES])
@in_tmp_path
@given(lines=lines_of_any_kind, data=st.data())
def test_every_line_is_a_caption_or_a_bad_item_or_blank(
    format_: Format, lines: list[bytes], data: st.DataObject
) -> None:
    chunks = list(in_chunks(b"".join(line + b"\n" for line in lines), 16))

    def read(start: int) -> Sequence[AnyItem | Blank | None]:
        if format_ is Format.TEXT:
            return list(text_items(split_lines(chunks), start))
        return list(json_line_items(split_lines(chunks), "caption", "id", start))

    items = read(0)
    assert [item.position for item in items if item is not None] == list(range(len(lines)))
    start = data.draw(st.integers(0, len(lines) + 2))
    assert read(start) == items[start:]
    for item, line in zip(items, lines, strict=True):
        assert item is not None
        if isinstance(item, Blank):
            assert not line.decode("utf-8-sig").strip()
        elif item.position > 0:
            assert item.original == line
        if isinstance(item, Item):
            item.caption.encode()
            assert item.caption == item.caption.strip()
            assert 0 < len(item.caption) <= MAX_CAPTION_LENGTH


def test_a_silent_source_is_passed_on() -> None:
    lines = split_lines([b"a dog\na c", None, b"at\n"])
    assert [item.caption if isinstance(item, Item) else item for item in text_items(lines)] == ["a dog", None, "a cat"]


def test_a_blank_line_of_a_text_is_no_item_but_the_others_stay_where_they_are() -> None:
    lines = split_lines([b"\xef\xbb\xbf\na dog\n \t\r\na cat\n\xe3\x80\x80\n"])
    assert [item.caption if isinstance(item, Item) else item for item in text_items(lines)] == [
        Blank(0),
        "a dog",
        Blank(2),
        "a cat",
        Blank(4),
    ]


def test_so_is_one_among_lines_of_json() -> None:
    lines = split_lines([b'\n{"caption": "a dog"}\n \n{"caption": ""}\n\n'])
    items = list(json_line_items(lines, "caption", "id"))
    assert [type(item) for item in items] == [Blank, Item, Blank, BadItem, Blank]
    assert [item.position for item in items if item is not None] == [0, 1, 2, 3, 4]


def test_the_reasons_of_bad_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "captions.jsonl",
        b"\n".join(
            [
                b'{"caption": "a dog", "id": 7}',
                b"\xff\xfe",
                b"{",
                b"[1]",
                b'{"text": "a dog"}',
                b'{"caption": 5}',
                b'{"caption": "  "}',
                json.dumps({"caption": "x" * (MAX_CAPTION_LENGTH + 1)}).encode(),
                b'{"caption": "a dog", "id": [1]}',
                b'{"caption": "a dog", "id": "#3"}',
                b'{"caption": "a dog", "id": true}',
                json.dumps({"caption": "a dog", "id": "x" * (MAX_GIVEN_ID_LENGTH + 1)}).encode(),
                rb'{"caption": "a \ud800 dog"}',
                rb'{"caption": "a dog", "id": "\udfff"}',
                b"[" * 100_000,
                b'{"caption": "' + b"x" * MAX_ORIGINAL_BYTES + b'"}',
                b'{"caption": "a cat", "id": null}',
            ]
        ),
    )
    items = items_of(path)
    assert reasons(items) == [
        None,
        ItemReason.NOT_UTF8,
        ItemReason.NOT_JSON,
        ItemReason.NO_CAPTION,
        ItemReason.NO_CAPTION,
        ItemReason.NO_CAPTION,
        ItemReason.EMPTY_CAPTION,
        ItemReason.CAPTION_TOO_LONG,
        ItemReason.BAD_ID,
        ItemReason.BAD_ID,
        ItemReason.BAD_ID,
        ItemReason.ID_TOO_LONG,
        ItemReason.NOT_UTF8,
        ItemReason.NOT_UTF8,
        ItemReason.NOT_JSON,
        ItemReason.LINE_TOO_LONG,
        None,
    ]
    details = [item.detail for item in items if isinstance(item, BadItem)]
    assert details[0].startswith("line 2: the line is not UTF-8")
    assert "line 6: field `caption`: found int, expected text" in details
    first, last = items[0], items[-1]
    assert isinstance(first, Item)
    assert isinstance(last, Item)
    assert (first.given_id, last.given_id) == ("7", None)


def test_the_bounds_are_those_of_a_caption_record() -> None:
    def caption(text: str) -> Caption:
        return Caption(id="s:1", caption_id="s:1", caption=text, source="s", position=0)

    caption("x" * MAX_CAPTION_LENGTH)
    with pytest.raises(ValidationError):
        caption("x" * (MAX_CAPTION_LENGTH + 1))


def test_other_fields_and_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = written(
        tmp_path, "c.ndjson", b'\xef\xbb\xbf{"text": "a dog", "key": "k"}\r\n{"text": "a cat", "key": 5}\r\n'
    )
    items = items_of(path, Reading(caption_field="text", id_field="key"))
    assert [(item.caption, item.given_id) for item in items if isinstance(item, Item)] == [
        ("a dog", "k"),
        ("a cat", "5"),
    ]


coco_annotations = st.lists(caption_objects | json_values, max_size=8)


@in_tmp_path
@given(annotations=coco_annotations, others=st.dictionaries(st.sampled_from("abc"), json_values), data=st.data())
def test_coco_annotations_are_found_among_other_keys(
    tmp_path: Path, annotations: list[Any], others: dict[str, Any], data: st.DataObject
) -> None:
    document = {**others, "annotations": annotations, "licenses": [{"id": 1}]}
    indent = data.draw(st.sampled_from([None, 1]))
    path = written(tmp_path, "captions.json", json.dumps(document, indent=indent))
    captioned = [a for a in annotations if isinstance(a, dict) and isinstance(a.get("caption"), str)]
    if annotations and not captioned:
        with pytest.raises(WrongFileError, match="none of its"):
            open_file(path, Reading())
        return
    items = items_of(path)
    assert [item.position for item in items] == list(range(len(annotations)))
    assert [json.loads(item.original) for item in items] == annotations
    start = data.draw(st.integers(0, len(annotations) + 1))
    assert items_of(path, start=start) == items[start:]


@given(values=st.lists(json_values, max_size=6), chunk=st.integers(1, 30))
def test_a_json_list_is_found_whatever_the_chunks(values: list[Any], chunk: int) -> None:
    document = {"x": {"annotations": [1]}, "annotations": values, "y": values}
    file = BytesIO(json.dumps(document, ensure_ascii=False).encode())
    found = list(list_in_object(lambda _: file.read(chunk), "annotations"))
    assert [value for value, _ in found] == values
    assert [json.loads(text) for _, text in found] == values


def test_bytes_that_are_no_text_spoil_one_annotation_only(tmp_path: Path) -> None:
    data = b'{"annotations": [{"caption": "a \xff dog", "id": 1}, {"caption": "a cat", "id": 2}]}'
    items = items_of(written(tmp_path, "captions.json", data))
    assert reasons(items) == [ItemReason.NOT_UTF8, None]
    assert items[0].original == b'{"caption": "a \xff dog", "id": 1}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"images": [], "info": {}}', "found the keys images, info, expected `annotations`"),
        ('[{"caption": "a dog"}]', r"begins with '\[', expected a JSON object"),
        ('{"annotations": {"1": "a dog"}}', "`annotations` is a dict, expected a list"),
        ('{"annotations": [{"caption": "a dog"}, {"capt', "after 1 annotations"),
        ('{"annotations": [{"caption": "a dog"}]', "ends before"),
        ('{"annotations": [{"caption": "a dog"} {}]}', "expected ']'"),
        ('{"caption": "a dog"}\n{"caption": "a cat"}', "--format jsonl"),
        ('{"annotations": [{"bbox": [1, 2, 3, 4]}]}', "none of its 1 annotations has a `caption`"),
        ("a dog on a sofa", "begins with 'a'"),
        ("", "begins with ''"),
        ('{"annotations": [' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_coco_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = written(tmp_path, "captions.json", content)
    with pytest.raises(WrongFileError, match=said) as caught:
        open_file(path, Reading())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_value_of_any_size_is_not_swallowed() -> None:
    with pytest.raises(JsonStreamError, match="more than"):
        list(list_in_object(BytesIO(b'{"a": "' + b"x" * 40_000_000).read, "annotations"))


texts = st.none() | st.text(max_size=20)


@in_tmp_path
@given(
    rows=st.lists(st.tuples(texts, st.none() | st.integers(0, 99)), max_size=25),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()]),
    group=st.integers(1, 9),
    data=st.data(),
)
def test_parquet_rows_from_any_position(
    tmp_path: Path, rows: list[tuple[str | None, int | None]], kind: pa.DataType, group: int, data: st.DataObject
) -> None:
    path = tmp_path / "captions.parquet"
    captions = pa.array([caption for caption, _ in rows], pa.string()).cast(kind)
    ids = pa.array([given_id for _, given_id in rows], pa.int64())
    pq.write_table(pa.table({"caption": captions, "id": ids}), path, row_group_size=group)
    items = items_of(path)
    assert [item.position for item in items] == list(range(len(rows)))
    for item, (caption, given_id) in zip(items, rows, strict=True):
        if caption is not None and caption.strip():
            assert item == Item(
                item.position, caption.encode(), caption.strip(), None if given_id is None else str(given_id)
            )
        else:
            assert reasons([item])[0] in {ItemReason.NO_CAPTION, ItemReason.EMPTY_CAPTION}
    start = data.draw(st.integers(0, len(rows) + 2))
    assert items_of(path, start=start) == items[start:]


def test_parquet_texts_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "captions.parquet"
    broken = pa.array([b"a dog", b"a \xff cat"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"caption": broken}), path)
    assert reasons(items_of(path)) == [None, ItemReason.NOT_UTF8]


@pytest.mark.parametrize(
    ("table", "reading", "said"),
    [
        ({"text": ["a dog"]}, Reading(), "found the columns text, expected `caption`"),
        ({"caption": [1]}, Reading(), "column `caption` is int64, expected text"),
        ({"caption": ["a dog"]}, Reading(id_field="key"), "found the columns caption, expected `key`"),
        ({"caption": ["a dog"], "id": [0.5]}, Reading(), "column `id` is double, expected text or whole numbers"),
    ],
)
def test_a_parquet_file_without_the_columns_is_refused(
    tmp_path: Path, table: dict[str, list[Any]], reading: Reading, said: str
) -> None:
    path = tmp_path / "captions.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(WrongFileError, match=said):
        open_file(path, reading)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("captions.csv", b"a dog", r"suffix '\.csv', expected one of \.txt"),
        ("captions", b"a dog", "suffix ''"),
        ("captions.parquet", b"a dog", "not a Parquet file"),
        ("captions.txt", "a dog".encode("utf-16"), "found UTF-16 text, expected text in UTF-8"),
        ("captions.jsonl", b"\x1f\x8b\x08\x00", "found gzip data, expected jsonl"),
        ("captions.txt", b"PAR1....", "found a Parquet file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    with pytest.raises(WrongFileError, match=said):
        open_file(written(tmp_path, name, data), Reading())


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    with pytest.raises(WrongFileError, match=r"absent\.txt: no such file"):
        open_file(tmp_path / "absent.txt", Reading())
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(WrongFileError, match="a folder"):
        open_file(tmp_path / "folder.txt", Reading())


def test_the_share_read_grows_to_one(tmp_path: Path) -> None:
    for name, data in [
        ("c.txt", "a dog\n" * 100_000),
        ("c.json", json.dumps({"annotations": [{"caption": "a dog"}] * 100_000})),
    ]:
        reader = open_file(written(tmp_path, name, data), Reading())
        shares = [reader.share_read() for _ in reader.items(0)]
        known = [share for share in shares if share is not None]
        assert known == shares
        assert known[0] < 0.9
        assert known[-1] == 1.0
        assert known == sorted(known)
