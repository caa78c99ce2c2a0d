"""The dataset card: `README.md` with the head that the Hugging Face Hub reads, and `statistics.json` beside it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from common.storage import Storage
from common.terminal import escape
from ops.dataset.statistics import Statistics, statistics_of
from ops.models.licences import Licence, licence_of
from schemas.counters import Counters
from workers.dataset.schema import COLUMNS, IMAGE
from workers.dataset.shards import ShardStore

CARD = "README.md"
STATISTICS = "statistics.json"

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGEST_SIZE = "1M<n<10M"

SKETCH = "sketch"
SKETCH_WARNING = (
    "**Drawn pictograms, for trying out. This is not training data.** It was made with the profile `sketch`: no model drew, "
    "looked at or described these pictures. They are put together from icons of Font Awesome Free (CC BY 4.0), and the "
    "scores come from simple measurements on them. What is real is the way that the samples took."
)

_MARKUP = re.compile(r"[^\w .,:;/()+-]")
"""What Markdown or HTML may take for markup. Between letters, a `_` is none."""

Funnel = Sequence[tuple[str, Counters]]
"""The workers in order, each with its totals."""


def write_card(url: str, options: Mapping[str, Any] | None = None, *, profile: str, funnel: Funnel = ()) -> Statistics:
    """Count the dataset at `url`, and write its card and its statistics into it.

    Raises TransientError when the place can not be reached.
    """
    statistics = statistics_of(ShardStore(url, options or {}))
    storage = Storage(url, options or {}, "dataset.url")
    described = {
        "profile": profile,
        **statistics.to_json(),
        "funnel": [{"worker": worker, **counters.model_dump(mode="json")} for worker, counters in funnel],
    }
    storage.write(STATISTICS, json.dumps(described, indent=2, ensure_ascii=False).encode())
    storage.write(CARD, card_of(statistics, profile, funnel).encode())
    return statistics


def card_of(statistics: Statistics, profile: str, funnel: Funnel) -> str:
    """The text of the card."""
    parts = [
        _head(statistics, profile),
        "# Image differences: questions and answers",
        *([SKETCH_WARNING] if profile == SKETCH else []),
        f"{statistics.samples} samples from {len(statistics.captions)} captions, in {statistics.shards} shards. Each shows "
        "two pictures that differ in one object, the region where they differ, a question about the difference and its "
        "answer. They were made by `imgdiff`, a stream of independent workers, "
        f"with the profile `{profile}`, in the manner of Img-Diff (arXiv 2408.04594).",
        '```python\nfrom datasets import load_dataset\n\nsamples = load_dataset("PATH", split="train")\n'
        'samples[0]["images"]  # two PIL images\n```',
        "## Columns",
        _table(("column", "type", "what it holds"), ((f"`{c.name}`", _type(c.type), c.meaning) for c in COLUMNS)),
        *_funnel(funnel),
        *_scores(statistics),
        *_models(statistics),
        *_terms(statistics),
        "## Limits",
        "Everything here is machine-generated: captions were edited, pictures drawn, regions found and texts written by the "
        "models above, and no person has looked at each sample. The captions keep the licence of where they come from, "
        "and what models made is under the terms of these models.",
    ]
    return "\n\n".join(parts) + "\n"


def _head(statistics: Statistics, profile: str) -> str:
    """YAML, whose values are written as the JSON that it contains."""
    fields: dict[str, Any] = {
        "pretty_name": "Image differences",
        "license": "other",
        "license_name": "that-of-the-captions-and-models",
        "language": ["en"],
        "task_categories": ["image-text-to-text", "visual-question-answering"],
        "size_categories": [next((name for limit, name in SIZES if statistics.samples < limit), LARGEST_SIZE)],
        "annotations_creators": ["machine-generated"],
        "tags": ["synthetic", "image-difference", *(["pictograms", "not-for-training"] if profile == SKETCH else [])],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    lines = (f"{key}: {json.dumps(value)}" for key, value in fields.items())
    return "\n".join(["---", *lines, "---"])


def _funnel(funnel: Funnel) -> Iterable[str]:
    if not funnel:
        return []
    rows = (
        (
            worker,
            str(counters.consumed),
            str(counters.passed),
            str(counters.outputs),
            _counts(counters.rejected),
            _counts(counters.failed),
        )
        for worker, counters in funnel
    )
    heading = ("worker", "read", "passed on", "made", "rejected", "failed")
    return ["## What became of every input", _table(heading, rows)]


def _scores(statistics: Statistics) -> Iterable[str]:
    if not statistics.scores:
        return []
    rows = (
        (
            _code(str(name)),
            str(summary.count),
            *(f"{value:.3f}" for value in (summary.least, summary.total / summary.count, summary.greatest)),
            f"{_bound(name.low)} to {_bound(name.high)}",
        )
        for name, summary in sorted(statistics.scores.items(), key=lambda item: repr(item[0]))
    )
    heading = ("score", "measured", "least", "mean", "greatest", "had to lie in")
    return ["## Scores of the samples that passed", _table(heading, rows)]


def _models(statistics: Statistics) -> Iterable[str]:
    rows = [
        (_plain(model.stage), _plain(model.role), _code(model.id), _code(model.revision), _plain(model.variant))
        for model in sorted(statistics.models, key=repr)
    ]
    return ["## Models", _table(("stage", "role", "model", "revision", "computed with"), rows)] if rows else []


def _terms(statistics: Statistics) -> Iterable[str]:
    """What the models' publishers ask of whoever uses what the models made. The sketch world has no such models."""
    by_licence: dict[Licence | None, list[str]] = {}
    for id in sorted({model.id for model in statistics.models} - {SKETCH}):
        by_licence.setdefault(licence_of(id), []).append(_code(id))
    if not by_licence:
        return []
    known = [
        f"- **{licence.name}** ({licence.source}): {', '.join(ids)}.{' ' if licence.outputs else ''}{licence.outputs}"
        for licence, ids in by_licence.items()
        if licence is not None
    ]
    unknown = [
        f"- Not known here: {', '.join(ids)}. Look their terms up before you use or share this dataset."
        for licence, ids in by_licence.items()
        if licence is None
    ]
    return ["## Terms of the models", "As their publishers state them; no legal advice.", "\n".join([*known, *unknown])]


def _bound(value: float | None) -> str:
    return "open" if value is None else f"{value:g}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_plain(reason)} {count}" for reason, count in sorted(counts.items())) or "0"


def _code(text: str) -> str:
    """A name out of a record, as code: it can neither end the code nor the line."""
    return f"`{escape(text).replace('`', chr(39))}`"


def _plain(text: str) -> str:
    """A name out of a record, as text: no markup, no HTML, no second line."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", escape(text))


def _type(kind: pa.DataType) -> str:
    if kind == IMAGE:
        return "image"
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return f"({', '.join(field.name for field in kind)})"
    return str(kind)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
