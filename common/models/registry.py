"""Which adapter stands behind which protocol. A module is imported only when a model of it is built."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

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
from common.settings import CommonSettings, ModelSettings

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


def caption_editor(settings: CommonSettings) -> CaptionEditor:
    editor: CaptionEditor = _build("caption_editor", settings)
    return editor


def pair_generator(settings: CommonSettings) -> PairGenerator:
    generator: PairGenerator = _build("pair_generator", settings)
    return generator


def image_encoder(settings: CommonSettings) -> ImageEncoder:
    encoder: ImageEncoder = _build("image_encoder", settings)
    return encoder


def text_encoder(settings: CommonSettings) -> TextEncoder:
    encoder: TextEncoder = _build("text_encoder", settings)
    return encoder


def segmenter(settings: CommonSettings) -> Segmenter:
    built: Segmenter = _build("segmenter", settings)
    return built


def image_text_matcher(settings: CommonSettings) -> ImageTextMatcher:
    matcher: ImageTextMatcher = _build("image_text_matcher", settings)
    return matcher


def region_describer(settings: CommonSettings) -> RegionDescriber:
    describer: RegionDescriber = _build("region_describer", settings)
    return describer


def difference_describer(settings: CommonSettings) -> DifferenceDescriber:
    describer: DifferenceDescriber = _build("difference_describer", settings)
    return describer


def _build(role: str, settings: CommonSettings) -> Any:
    chosen: ModelSettings = getattr(settings.models, role)
    known = ADAPTERS[role]
    if chosen.adapter not in known:
        raise ConfigurationError(
            f"setting `models.{role}.adapter`: found {chosen.adapter!r}, expected one of {', '.join(known)}"
        )
    module, _, name = known[chosen.adapter].partition(":")
    adapter = getattr(import_module(module), name)
    options = dict(chosen.options)
    if chosen.adapter == "sketch":
        options.setdefault("delay_s", settings.sketch.delay_s)
    try:
        return adapter(**_typed(adapter, options))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"setting `models.{role}.options`: {error}") from error


def _typed(adapter: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the adapter's constructor declares them: from an environment variable every value is a text."""
    types = get_type_hints(adapter.__init__)
    typed = {}
    for option, value in options.items():
        if option not in types:
            raise ValueError(f"found `{option}`, expected one of {', '.join(sorted(types.keys() - {'return'}))}")
        try:
            typed[option] = TypeAdapter(types[option]).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"`{option}`: {error.errors()[0]['msg']}, found {value!r}") from error
    return typed
