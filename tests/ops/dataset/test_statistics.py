"""Counting a dataset, and describing it."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from ops.dataset.card import CARD, SKETCH_WARNING, STATISTICS, card_of, write_card
from ops.dataset.statistics import ModelName, SampleCounter, Statistics, count_samples, statistics_of
from ops.models.licences import LLAMA_2, OPEN_RAIL
from schemas.counters import Counters, ShardMark
from tests.workers.dataset.samples import samples
from workers.dataset.schema import COLUMNS
from workers.dataset.shards import ShardStore, shard_name

FUNNEL = [
    ("edits", Counters(consumed=10, passed=8, outputs=8, rejected={"no_known_object": 2})),
    ("dataset", Counters(consumed=8, passed=7, outputs=7, failed={"image_missing": 1})),
]


def written(url: str, *ranges: tuple[int, int]) -> ShardStore:
    store = ShardStore(url, {})
    store.initialise()
    for first, last in ranges:
        token = uuid4().hex
        store.write_pending(token, samples(first, last))
        store.finish(ShardMark(token=token, name=shard_name(3, first, last)))
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def test_a_dataset_that_is_not_there_has_no_samples(folder: Path) -> None:
    assert count_samples(str(folder)) == 0
    assert not folder.exists()


def test_only_shards_in_their_place_count(folder: Path) -> None:
    store = written(str(folder), (0, 3), (4, 9))
    store.write_pending(uuid4().hex, samples(10, 20))
    (folder / "data" / "notes.txt").write_text("mine")
    assert count_samples(str(folder)) == 10


def test_counting_again_opens_new_shards_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(str(folder), (0, 3))
    count = SampleCounter(str(folder), {})
    assert count() == 4
    opened = []
    original = ShardStore.opened
    monkeypatch.setattr(ShardStore, "opened", lambda self, name: opened.append(name) or original(self, name))
    written(str(folder), (4, 9))
    assert count() == 10
    assert count() == 10
    assert opened == [shard_name(3, 4, 9)]


def test_statistics_are_those_of_the_rows(folder: Path) -> None:
    found = statistics_of(written(str(folder), (0, 3), (4, 9))).to_json()
    assert (found["samples"], found["shards"], found["captions"]) == (10, 2, 5)
    assert found["replaced"] == {"dog -> cat": 10}
    assert found["found_in"] == {"second": 10}
    assert found["sizes"] == {"12x10": 10}
    assert found["lengths"]["answer"]["mean"] == len("There is a cat in place of the dog.")
    by_name = {(score["stage"], score["name"]): score for score in found["scores"]}
    similarity = by_name["boxes", "pair_similarity"]
    assert similarity["count"] == 10
    assert similarity["min"] == similarity["max"] == pytest.approx(0.93)
    assert (similarity["low"], similarity["high"]) == (0.9, 0.98)


def test_the_card_is_read_by_the_hub_and_by_people(folder: Path) -> None:
    written(str(folder), (0, 3))
    write_card(str(folder), profile="sketch", funnel=FUNNEL)
    text = (folder / CARD).read_text()
    _, head, body = text.split("---\n", 2)
    fields = yaml.safe_load(head)
    assert fields["size_categories"] == ["n<1K"]
    assert fields["configs"][0]["data_files"] == [{"split": "train", "path": "data/*.parquet"}]
    assert "not-for-training" in fields["tags"]
    assert SKETCH_WARNING in body
    assert all(f"| `{column.name}` |" in body for column in COLUMNS)
    assert "| edits | 10 | 8 | 8 | no_known_object 2 | 0 |" in body
    assert "| `boxes.pair_similarity` | 4 | 0.930 | 0.930 | 0.930 | 0.9 to 0.98 |" in body
    statistics = json.loads((folder / STATISTICS).read_text())
    assert (statistics["profile"], statistics["samples"]) == ("sketch", 4)
    assert statistics["funnel"][1]["failed"] == {"image_missing": 1}


def test_a_dataset_of_real_models_carries_no_warning(folder: Path) -> None:
    text = card_of(statistics_of(written(str(folder), (0, 3))), "paper", [])
    assert "pictograms" not in text
    assert "## Models" in text


def test_the_terms_of_the_models_that_took_part_are_said() -> None:
    ids = [
        "llava-hf/llava-v1.6-vicuna-13b-hf",
        "lmsys/vicuna-13b-v1.5",
        "Salesforce/blip-itm-large-coco",
        "me/own",
        "sketch",
    ]
    models = {ModelName(stage="qa", role="any", id=id, revision="main", variant="") for id in ids}
    text = card_of(Statistics(models=models), "paper", [])
    terms = text.split("## Terms of the models", 1)[1].split("## ", 1)[0]
    assert "no legal advice" in terms
    (llama,) = (line for line in terms.splitlines() if LLAMA_2.name in line)
    assert "`llava-hf/llava-v1.6-vicuna-13b-hf`, `lmsys/vicuna-13b-v1.5`" in llama
    assert LLAMA_2.outputs in llama
    assert LLAMA_2.source in llama
    assert "BSD-3-Clause" in terms
    assert "Not known here: `me/own`." in terms
    assert "`sketch`" not in terms
    assert OPEN_RAIL.name not in terms


def test_a_sketched_dataset_is_under_no_models_terms(folder: Path) -> None:
    assert "## Terms" not in card_of(statistics_of(written(str(folder), (0, 3))), "sketch", [])


def test_an_empty_dataset_has_a_card_too(folder: Path) -> None:
    written(str(folder))
    write_card(str(folder), profile="sketch")
    assert json.loads((folder / STATISTICS).read_text())["scores"] == []


def test_the_folder_loads_as_a_dataset_by_its_card(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    written(str(folder), (0, 3), (4, 9)).write_pending(uuid4().hex, samples(10, 20))
    write_card(str(folder), profile="sketch", funnel=FUNNEL)
    loaded = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 10
    assert loaded[9]["images"][1].size == (12, 10)
