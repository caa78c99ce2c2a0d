"""The page of profiles says what the profiles say, and where they differ."""

import re

import pytest

from common.settings import load_layers
from ops.docs.docstrings import UndocumentedError
from ops.docs.profiles import PUBLISHED, _source, profiles_page


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, by the setting in the first one."""
    section = profiles_page().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE)
    return {key: rest.split(" | ") for key, rest in lines}


def test_every_setting_of_a_published_profile_is_in_one_of_the_two_tables() -> None:
    differing, shared = rows("Differences"), rows("In common")
    assert not differing.keys() & shared.keys()
    listed = differing.keys() | shared.keys()
    for profile in PUBLISHED:
        for key in load_layers({}, profile=profile).origins:
            assert key == "profile" or any(key == each or key.startswith(f"{each}.") for each in listed), key


@pytest.mark.parametrize(
    ("setting", "cells"),
    [
        ("boxes.pair_similarity", ["`(0.9, 0.98)`", "`(0.9, 0.98)`", "`[0.9, 0.99]`"]),
        ("boxes.round_similarity_to", ["`none`", "`3`", "`none`"]),
        ("boxes.area_share", ["`(-inf, inf)`", "`[0.0025, inf)`", "`(-inf, 0.1]`"]),
        ("models.caption_editor.options.decoding.max_new_tokens", ["`128`", "`128`", "`512`"]),
        ("models.pair_generator.options.cross_replace_words.confetti", ["-", "`0.8`", "`0.8`"]),
        ("boxes.max_boxes", ["`5`", "`5`", "`none`"]),
    ],
)
def test_where_profiles_differ(setting: str, cells: list[str]) -> None:
    assert rows("Differences")[setting][:3] == cells


def test_a_template_shows_by_its_length() -> None:
    *templates, missing = rows("Differences")["models.caption_editor.options.template"][:3]
    assert all(re.fullmatch(r"\d\d lines of jinja", template) for template in templates)
    assert missing == "-"


def test_what_they_share() -> None:
    shared = rows("In common")
    assert shared["boxes.overlap"][0] == "`(-inf, 0.5]`"
    assert shared["models.pair_generator.options.steps"][0] == "`50`"


def test_a_setting_without_a_source_is_named() -> None:
    assert _source("boxes.max_boxes_before_area") == _source("boxes.max_boxes") != _source("boxes.overlap")
    with pytest.raises(UndocumentedError, match=r"kafka\.ssl_cafile"):
        _source("kafka.ssl_cafile")
