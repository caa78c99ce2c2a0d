"""The columns of the dataset, each defined once: its Arrow type, its meaning, and how a sample fills it.

Pictures lie in the rows as `struct<bytes, path>`, and the schema's metadata tells `datasets` and the Hugging Face viewer
that these are images (peers.md 4.3).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from schemas.headers import SourceCoordinates
from schemas.qa import DifferenceQa
from schemas.trail import TrailStep

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCORE = pa.struct(
    [
        ("stage", pa.string()),
        ("name", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("low_inclusive", pa.bool_()),
        ("high_inclusive", pa.bool_()),
    ]
)
MODEL = pa.struct([(name, pa.string()) for name in ("stage", "role", "id", "revision", "variant")])

GENERATOR = "pairs"
"""The stage whose seed drew the pictures."""

_TRAIL = TypeAdapter(tuple[TrailStep, ...])


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished sample: the record, its pictures' encoded bytes by field name, and where the record lies."""

    record: DifferenceQa
    pictures: Mapping[str, bytes]
    source: SourceCoordinates

    @property
    def picture_bytes(self) -> int:
        return sum(map(len, self.pictures.values()))


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type, what it holds, and how a sample fills it."""

    name: str
    type: pa.DataType
    meaning: str
    value: Callable[[Sample], Any]


def _images(*names: str) -> Callable[[Sample], list[dict[str, Any]]]:
    def value(sample: Sample) -> list[dict[str, Any]]:
        references = sample.record.images()
        return [
            {
                "bytes": sample.pictures[name],
                "path": f"{references[name].sha256}.{_suffix(references[name].media_type)}",
            }
            for name in names
        ]

    return value


def _field(name: str) -> Callable[[Sample], Any]:
    return lambda sample: getattr(sample.record, name)


def _scores(sample: Sample) -> list[dict[str, Any]]:
    return [
        {"stage": step.stage, "name": name, "value": score.value, **score.bounds.model_dump()}
        for step in sample.record.trail
        for name, score in step.scores.items()
    ]


def _models(sample: Sample) -> list[dict[str, Any]]:
    return [{"stage": step.stage, **model.model_dump()} for step in sample.record.trail for model in step.models]


def _seed(sample: Sample) -> int | None:
    return next((step.seed for step in sample.record.trail if step.stage == GENERATOR), None)


def _box(sample: Sample) -> list[float]:
    box = sample.record.box
    return [box.x0, box.y0, box.x1, box.y1]


COLUMNS: Sequence[Column] = (
    Column("id", pa.string(), "id of the sample", _field("id")),
    Column(
        "caption_id", pa.string(), "id of the caption that it comes from; samples may share one", _field("caption_id")
    ),
    Column(
        "images",
        pa.list_(IMAGE),
        "the two pictures: of `caption`, then of `edited_caption`",
        _images("first", "second"),
    ),
    Column("question", pa.string(), "a question about the difference", _field("question")),
    Column("answer", pa.string(), "its answer", _field("answer")),
    Column("difference", pa.string(), "what differs inside the box, in a few sentences", _field("difference")),
    Column(
        "marked_images",
        pa.list_(IMAGE),
        "the two pictures with the region in a red box",
        _images("first_marked", "second_marked"),
    ),
    Column("caption", pa.string(), "what the first picture shows", _field("caption")),
    Column(
        "edited_caption", pa.string(), "what the second picture shows: one object replaced", _field("edited_caption")
    ),
    Column("box", pa.list_(pa.float64()), "the region, x0 y0 x1 y1 in pixels, the same in both pictures", _box),
    Column("width", pa.int32(), "width of the pictures in pixels", lambda sample: sample.record.box.width),
    Column("height", pa.int32(), "height of the pictures in pixels", lambda sample: sample.record.box.height),
    Column(
        "found_in", pa.string(), "the picture whose segmentation gave the box: `first` or `second`", _field("found_in")
    ),
    Column("first_objects", pa.list_(pa.string()), "nouns that only `caption` has", _field("first_objects")),
    Column("second_objects", pa.list_(pa.string()), "nouns that only `edited_caption` has", _field("second_objects")),
    Column("first_description", pa.string(), "what the box shows in the first picture", _field("first_description")),
    Column("second_description", pa.string(), "what the box shows in the second picture", _field("second_description")),
    Column(
        "scores",
        pa.list_(SCORE),
        "what each filter measured, with the bounds that it had to lie in; null is open",
        _scores,
    ),
    Column("models", pa.list_(MODEL), "the models that took part, and how they ran", _models),
    Column("seed", pa.int64(), "the seed that the pictures were drawn with", _seed),
    Column(
        "trail",
        pa.string(),
        "JSON: per stage its settings digest, seed, scores, times, and what it weighed and dropped",
        lambda sample: _TRAIL.dump_json(sample.record.trail).decode(),
    ),
    Column(
        "source_topic", pa.string(), "topic of the record that the row comes from", lambda sample: sample.source.topic
    ),
    Column("source_partition", pa.int32(), "its partition", lambda sample: sample.source.partition),
    Column("source_offset", pa.int64(), "its offset", lambda sample: sample.source.offset),
)
"""In the order in which a viewer shows them."""


def rows_of(samples: Sequence[Sample], arrow: pa.Schema) -> pa.RecordBatch:
    """The samples as rows of `schema()`. Raises whatever a value that no column can hold brings about."""
    return pa.RecordBatch.from_pylist([row_of(sample) for sample in samples], schema=arrow)


def row_of(sample: Sample) -> dict[str, Any]:
    """The sample's values by column."""
    return {column.name: column.value(sample) for column in COLUMNS}


def schema() -> pa.Schema:
    """The Arrow schema, with the features of the `datasets` library in its metadata."""
    features = {column.name: feature_of(column.type) for column in COLUMNS}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(column.name, column.type) for column in COLUMNS], metadata=metadata)


def feature_of(kind: pa.DataType) -> Any:
    """A type as the `datasets` library describes it."""
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": feature_of(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: feature_of(field.type) for field in kind}
    # `datasets` says "float64" and "bool" as Arrow's own names `double` and `bool` are not all its names.
    return {"dtype": "float64" if pa.types.is_float64(kind) else str(kind), "_type": "Value"}


def _suffix(media_type: str) -> str:
    return media_type.rpartition("/")[2]
