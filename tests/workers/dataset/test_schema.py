"""The shards as others read them: pyarrow, and the `datasets` library."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.workers.dataset.samples import PICTURES, TRAIL, sample, samples
from workers.dataset.schema import COLUMNS, Sample, schema
from workers.dataset.shards import ROW_GROUP_BYTES, ROW_GROUP_ROWS, write_rows


def shard_of(rows: list[Sample]) -> bytes:
    file = BytesIO()
    write_rows(file, rows)
    return file.getvalue()


def test_a_row_holds_the_whole_sample() -> None:
    given = sample(120)
    row = pq.read_table(BytesIO(shard_of([given]))).to_pylist()[0]
    record = given.record
    for name in ("id", "caption_id", "caption", "edited_caption", "question", "answer", "difference", "found_in"):
        assert row[name] == getattr(record, name)
    assert [image["bytes"] for image in row["images"]] == [given.pictures["first"], given.pictures["second"]]
    assert [image["bytes"] for image in row["marked_images"]] == [
        given.pictures["first_marked"],
        given.pictures["second_marked"],
    ]
    assert row["images"][0]["path"] == f"{record.first.sha256}.png"
    assert row["box"] == [1.5, 2.0, 6.0, 7.25]
    assert (row["width"], row["height"]) == (12, 10)
    assert (row["first_objects"], row["second_objects"]) == (["dog"], ["cat"])
    assert row["seed"] == 2**62 + 1
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("imgdiff.qa", 3, 120)
    assert row["models"] == [
        {
            "stage": "pairs",
            "role": "pair_generator",
            "id": "sketch",
            "revision": "1",
            "variant": "float32, 2 per batch",
        }
    ]
    assert row["scores"] == [
        {
            "stage": "boxes",
            "name": "pair_similarity",
            "value": 0.93,
            "low": 0.9,
            "high": 0.98,
            "low_inclusive": False,
            "high_inclusive": False,
        },
        {
            "stage": "boxes",
            "name": "crop_similarity",
            "value": 0.4,
            "low": None,
            "high": 0.85,
            "low_inclusive": False,
            "high_inclusive": True,
        },
    ]
    assert [step["stage"] for step in json.loads(row["trail"])] == [step.stage for step in TRAIL]
    assert json.loads(row["trail"])[2]["dropped"][0]["scores"]["iou"]["value"] == 0.7


def test_datasets_gives_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    data = tmp_path / "data"
    data.mkdir()
    (data / "part-00003-000000000000-000000000002.parquet").write_bytes(shard_of(samples(0, 2)))
    (data / "part-00004-000000000000-000000000001.parquet").write_bytes(shard_of(samples(0, 1, partition=4)))
    loaded = load_dataset("parquet", data_dir=str(data), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 5
    assert loaded.column_names == [column.name for column in COLUMNS]
    assert isinstance(loaded.features["images"].feature, ImageFeature)
    row = loaded[1]
    given = sample(1)
    for shown, name in zip([*row["images"], *row["marked_images"]], PICTURES, strict=True):
        assert isinstance(shown, Image.Image)
        with Image.open(BytesIO(given.pictures[name])) as expected:
            assert np.array_equal(np.asarray(shown), np.asarray(expected))
    assert row["box"] == [1.5, 2.0, 6.0, 7.25]
    assert row["scores"][0]["value"] == 0.93


def test_row_groups_stay_small_enough_for_viewers() -> None:
    shard = pq.ParquetFile(BytesIO(shard_of(samples(0, 2 * ROW_GROUP_ROWS))))
    sizes = [shard.metadata.row_group(index).num_rows for index in range(shard.num_row_groups)]
    assert sizes == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 1]


def test_row_groups_are_bounded_in_bytes() -> None:
    large = sample(0)
    pictures = dict.fromkeys(PICTURES, b"x" * (ROW_GROUP_BYTES // 10))
    rows = [Sample(large.record, pictures, large.source)] * 5
    shard = pq.ParquetFile(BytesIO(shard_of(rows)))
    sizes = [shard.metadata.row_group(index).num_rows for index in range(shard.num_row_groups)]
    assert sizes == [2, 2, 1]


def test_pictures_are_stored_as_they_are_and_texts_compressed() -> None:
    group = pq.ParquetFile(BytesIO(shard_of(samples(0, 3)))).metadata.row_group(0)
    compression = {
        group.column(index).path_in_schema: group.column(index).compression for index in range(group.num_columns)
    }
    assert compression["images.list.element.bytes"] == "UNCOMPRESSED"
    assert compression["trail"] == "ZSTD"


def test_equal_rows_give_equal_bytes() -> None:
    assert shard_of(samples(5, 9)) == shard_of(samples(5, 9))


def test_every_column_says_what_it_holds() -> None:
    assert schema().names == [column.name for column in COLUMNS]
    assert all(column.meaning for column in COLUMNS)
