"""`docs/profiles.md`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from common.settings import load_layers
from ops.dead_letters.showing import window
from ops.docs.docstrings import UndocumentedError
from ops.docs.markdown import code, page, table
from ops.effective import section_kinds
from schemas.scores import Bounds

PUBLISHED = ("paper", "code", "recipe")
"""The profiles that run Img-Diff with real models."""

INTRODUCTION = """\
A profile is a set of models, prompts and thresholds to start from: `--profile paper`, or `profile` in a settings file.
Whatever it says can be set otherwise, see [settings](settings.md). Three of them run Img-Diff (arXiv 2408.04594) with real
models:

- `paper`: as published in version 3 and its supplement. Where it gives no value, that of the authors' code holds.
- `code`: as the scripts do that the authors released, in `Img-Diff-codes` of the branch ImgDiff of data-juicer.
- `recipe`: as the later `img-diff-recipe.yaml` of data-juicer does, with its operators.

The fourth, `sketch`, is the small drawn world of the demo and runs anywhere. Prompts are our own words for the published
intent. Intervals take a bound in at a square bracket, and not at a round one."""

DIFFERENCES = """\
The source names the scripts of `code` and the operators of `recipe`. A dash: the profile gives no such option, the
default of the adapter holds, or what the model brings."""

NOT_REPRODUCED = """\
- Pictures are stored without loss; the authors and the recipe store JPEG, whose noise is part of their scores.
- Each sample has a seed of its own, made from its id. The authors reseed with a number drawn from the last seed, and draw
  all pictures of a process from one seed; the recipe does not record its seeds.
- In sampling, the authors' script also keeps the 50 best tokens only (the default of its version of transformers), and the
  recipe's model brings limits of its own (the 20 best tokens, a penalty of 1.05 on repetition).
- Nouns are told by a dictionary and the words around them, not by NLTK's tagger.
- Boxes keep their decimals; the authors' script rounds them to 0.1 pixels.
- A picture that can not be prepared fails alone; in the authors' script its pair vanishes. The recipe's boxes of zero size
  for pairs without one do not exist here: such a pair is rejected, with a reason.
- The recipe finds the regions it keeps again by their descriptions, so that one of two boxes with equal descriptions can
  bring back the other. Here a box is itself.
- An edit that leaves the caption's words as they are, that was cut off, or that is empty is rejected in every profile."""

SOURCES = {
    "compute": "half precision on a GPU in all scripts; `fp16` in the recipe",
    "models.caption_editor": "`gen.py`, `gen.sh`; `sentence_augmentation_mapper`",
    "models.pair_generator": "`gen_new_data_ddp.py`; `sdxl_prompt2prompt_mapper`",
    "models.image_encoder": "`cos_filter.py`, `generate_bbox.py`; `image_pair_similarity_filter`",
    "models.text_encoder": "`generate_final_data_new_edit.py`; `text_pair_similarity_filter`",
    "models.segmenter": "`generate_bbox.py`; `imgdiff_difference_area_generator_mapper`",
    "models.image_text_matcher": "`generate_bbox.py`; `imgdiff_difference_area_generator_mapper`",
    "models.region_describer": "supplement; `generate_final_data_new_edit.py`; `imgdiff_difference_caption_generator_mapper`",
    "models.difference_describer": (
        "supplement; `generate_final_data_new_edit.py`; `imgdiff_difference_caption_generator_mapper`"
    ),
    "models.naturalness_judge": "`unnatural_images_filter.py`, with another model; not in the recipe",
    "edits.marker_words": "`gen.py`",
    "edits.objects_changed": "the paper asks for one object; how it is made sure is ours",
    "edits.added_marks": "ours",
    "edits.added_words": "ours",
    "pairs.grey_levels": "ours",
    "boxes.pair_similarity": "`cos_count.py`; `image_pair_similarity_filter`",
    "boxes.round_similarity_to": "`cos_filter.py`",
    "boxes.area_share": "`generate_final_data_new_edit.py`; `imgdiff_difference_caption_generator_mapper`",
    "boxes.max_boxes": "the paper; `generate_final_data_new_edit.sh`",
    "boxes": "`generate_bbox.py`; `imgdiff_difference_area_generator_mapper`",
    "region_captions": "`generate_final_data_new_edit.py`; `imgdiff_difference_caption_generator_mapper`",
    "qa.check_naturalness": "`unnatural_images_filter.py`, which tags and deletes nothing",
    "qa.naturalness": "ours",
    "qa": "`generate_final_data_new_edit.py`; `imgdiff_difference_caption_generator_mapper`",
}
"""Where the values come from, by setting or section; the longest name that fits counts."""

FILES = "where the files lie on the web; not pinned, as nobody here could verify a revision"

OWN_SOURCES = {
    "weights.revision": FILES,
    "weights.files": FILES,
    "weights.url": FILES,
    "options.template": "the format that the model was trained with",
    "options.prompt.system": "the sentence that Vicuna was trained with",
    "options.prompt.text": "our words for the published intent",
}
"""By the end of a setting's name; these count before the others."""

_MISSING = "-"


def profiles_page() -> str:
    """What the published profiles say: first where they differ, then what they share."""
    values = {profile: dict(_values(profile)) for profile in PUBLISHED}
    given = [key for key in _in_order(values.values()) if _is_given(key)]
    rows = {key: [values[profile].get(key, _MISSING) for profile in PUBLISHED] for key in given}
    return page(
        "Profiles",
        INTRODUCTION,
        "## Differences",
        DIFFERENCES,
        table(
            ["Setting", *map(code, PUBLISHED), "Source"],
            [[code(key), *cells, _source(key)] for key, cells in rows.items() if len(set(cells)) > 1],
        ),
        "## In common",
        table(
            ["Setting", "Value", "Source"],
            [[code(key), cells[0], _source(key)] for key, cells in rows.items() if len(set(cells)) == 1],
        ),
        "## Not reproduced",
        NOT_REPRODUCED,
    )


def _values(profile: str) -> Iterator[tuple[str, str]]:
    layers = load_layers({}, profile=profile)
    common = layers.common()
    yield from _flat("compute", common.compute)
    yield from _flat("models", common.models)
    for name, kind in section_kinds().items():
        yield from _flat(name, layers.section(name, kind))


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case Bounds():
            yield key, code(window(value))
        case BaseModel():
            for name in type(value).model_fields:
                yield from _flat(f"{key}.{name}", getattr(value, name))
        case Mapping() if value:
            for name, inner in value.items():
                yield from _flat(f"{key}.{name}", inner)
        case str() if "\n" in value:
            yield key, f"{len(value.splitlines())} lines of jinja"
        case None:
            yield key, code("none")
        case _:
            yield key, code(json.dumps(value, ensure_ascii=False, default=str))


def _in_order(tables: Iterable[Mapping[str, str]]) -> list[str]:
    """All keys, those of one table that another lacks right after the one that they follow."""
    keys: list[str] = []
    for each in tables:
        at = 0
        for key in each:
            if key not in keys:
                keys.insert(at, key)
            at = keys.index(key) + 1
    return keys


def _is_given(key: str) -> bool:
    """Whether one of the profiles says it, rather than leaving it at its default."""
    return any(
        origin == key or origin.startswith(f"{key}.")
        for profile in PUBLISHED
        for origin in load_layers({}, profile=profile).origins
    )


def _source(key: str) -> str:
    for end, source in OWN_SOURCES.items():
        if key.endswith(f".{end}"):
            return source
    fitting = [name for name in SOURCES if key == name or key.startswith(f"{name}.") or key.startswith(f"{name}_")]
    if not fitting:
        raise UndocumentedError(f"setting {key} of a profile has no source")
    return SOURCES[max(fitting, key=len)]
