"""Which adapter stands behind which protocol. A module is imported only when a model of it is built."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from common.models.protocols import (
    CaptionEditor,
    DifferenceDescriber,
    ImageEncoder,
    ImageTextMatcher,
    PairGenerator,
    RegionDescriber,
    Segmenter,
    TextEncoder,
)
from common.runtime.errors import ConfigurationError
from common.settings import ModelSettings, ModelsSettings

ADAPTERS: Mapping[str, Mapping[str, str]] = {
    "caption_editor": {"sketch": "common.models.sketch.editor:SketchEditor"},
    "pair_generator": {"sketch": "common.models.sketch.generator:SketchPairGenerator"},
    "image_encoder": {"sketch": "common.models.sketch.encoders:SketchImageEncoder"},
    "text_encoder": {"sketch": "common.models.sketch.encoders:SketchTextEncoder"},
    "segmenter": {"sketch": "common.models.sketch.segmenter:SketchSegmenter"},
    "image_text_matcher": {"sketch": "common.models.sketch.matcher:SketchMatcher"},
    "region_describer": {"sketch": "common.models.sketch.describers:SketchRegionDescriber"},
    "difference_describer": {"sketch": "common.models.sketch.describers:SketchDifferenceDescriber"},
}
"""By protocol and adapter name: the class, which is called with the adapter's options as keyword arguments."""


def caption_editor(models: ModelsSettings) -> CaptionEditor:
    editor: CaptionEditor = _build("caption_editor", models.caption_editor)
    return editor


def pair_generator(models: ModelsSettings) -> PairGenerator:
    generator: PairGenerator = _build("pair_generator", models.pair_generator)
    return generator


def image_encoder(models: ModelsSettings) -> ImageEncoder:
    encoder: ImageEncoder = _build("image_encoder", models.image_encoder)
    return encoder


def text_encoder(models: ModelsSettings) -> TextEncoder:
    encoder: TextEncoder = _build("text_encoder", models.text_encoder)
    return encoder


def segmenter(models: ModelsSettings) -> Segmenter:
    built: Segmenter = _build("segmenter", models.segmenter)
    return built


def image_text_matcher(models: ModelsSettings) -> ImageTextMatcher:
    matcher: ImageTextMatcher = _build("image_text_matcher", models.image_text_matcher)
    return matcher


def region_describer(models: ModelsSettings) -> RegionDescriber:
    describer: RegionDescriber = _build("region_describer", models.region_describer)
    return describer


def difference_describer(models: ModelsSettings) -> DifferenceDescriber:
    describer: DifferenceDescriber = _build("difference_describer", models.difference_describer)
    return describer


def _build(role: str, settings: ModelSettings) -> Any:
    known = ADAPTERS[role]
    if settings.adapter not in known:
        raise ConfigurationError(
            f"setting `models.{role}.adapter`: found {settings.adapter!r}, expected one of {', '.join(known)}"
        )
    module, _, name = known[settings.adapter].partition(":")
    try:
        return getattr(import_module(module), name)(**settings.options)
    except TypeError as error:
        raise ConfigurationError(f"setting `models.{role}.options`: {error}") from error
