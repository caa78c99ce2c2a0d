"""Which adapter stands behind which protocol. A module is imported only when a model of it is built."""

import logging
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import Parameter, signature
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from common.logs import adopt_loggers
from common.models.protocols import (
    CaptionEditor,
    DifferenceDescriber,
    ImageEncoder,
    ImageTextMatcher,
    NaturalnessJudge,
    PairGenerator,
    RegionDescriber,
    Segmenter,
    TextEncoder,
    WarmsUp,
)
from common.models.weights import Weights, find_weights
from common.runtime.errors import ConfigurationError, OutOfMemoryError, translated
from common.settings import CommonSettings, ModelSettings, is_secret

log = logging.getLogger(__name__)

ADAPTERS: Mapping[str, Mapping[str, str]] = {
    "caption_editor": {
        "sketch": "common.models.sketch.editor:SketchEditor",
        "transformers": "common.models.chat_editor:ChatCaptionEditor",
        "endpoint": "common.models.endpoint.editor:EndpointCaptionEditor",
    },
    "pair_generator": {
        "sketch": "common.models.sketch.generator:SketchPairGenerator",
        "prompt_to_prompt": "common.models.prompt_to_prompt.generator:PromptToPromptGenerator",
    },
    "image_encoder": {
        "sketch": "common.models.sketch.encoders:SketchImageEncoder",
        "clip": "common.models.clip:ClipImageEncoder",
    },
    "text_encoder": {
        "sketch": "common.models.sketch.encoders:SketchTextEncoder",
        "clip": "common.models.clip:ClipTextEncoder",
    },
    "segmenter": {
        "sketch": "common.models.sketch.segmenter:SketchSegmenter",
        "fastsam": "common.models.fastsam:FastSamSegmenter",
        "sam": "common.models.sam:SamSegmenter",
    },
    "image_text_matcher": {
        "sketch": "common.models.sketch.matcher:SketchMatcher",
        "blip_itc": "common.models.blip:BlipItcMatcher",
        "blip_itm": "common.models.blip:BlipItmMatcher",
    },
    "region_describer": {
        "sketch": "common.models.sketch.describers:SketchRegionDescriber",
        "llava_next": "common.models.llava_next.region_describer:LlavaNextRegionDescriber",
        "endpoint": "common.models.endpoint.describers:EndpointRegionDescriber",
    },
    "difference_describer": {
        "sketch": "common.models.sketch.describers:SketchDifferenceDescriber",
        "llava_next": "common.models.llava_next.difference_describer:LlavaNextDifferenceDescriber",
        "endpoint": "common.models.endpoint.describers:EndpointDifferenceDescriber",
    },
    "naturalness_judge": {
        "transformers": "common.models.naturalness:ChatNaturalnessJudge",
        "endpoint": "common.models.endpoint.naturalness:EndpointNaturalnessJudge",
    },
}
"""By protocol and adapter name: the class. It is called with the adapter's options as keyword arguments, and with
`weights`, `compute` and `delay_s` from their settings where its constructor asks for them."""

_NO_OPTIONS = frozenset({"return", "weights", "compute", "delay_s"})

EXTRAS = {"fastsam": "fastsam", "endpoint": "endpoint"}
"""Adapters whose libraries are in an extra of their own; the others' are in `models`."""

_LONGEST_CAUSE = 200
"""Characters: after the first sentences torch goes on to tell how its allocator works."""

_PRINTERS = ("transformers", "diffusers")
"""Libraries that print their log lines themselves, from the moment they are imported."""


class _MissingOptionsError(Exception):
    """The adapter can not do without them."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


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


def naturalness_judge(settings: CommonSettings) -> NaturalnessJudge:
    judge: NaturalnessJudge = _build("naturalness_judge", settings)
    return judge


def _build(role: str, settings: CommonSettings) -> Any:
    chosen: ModelSettings | None = getattr(settings.models, role)
    known = ADAPTERS[role]
    if chosen is None:
        raise ConfigurationError(f"setting `models.{role}.adapter`: missing, expected one of {', '.join(known)}")
    if chosen.adapter not in known:
        raise ConfigurationError(
            f"setting `models.{role}.adapter`: found {chosen.adapter!r}, expected one of {', '.join(known)}"
        )
    # Before the adapter's libraries, which take seconds to import: what is missing is said at once.
    weights = None if chosen.weights is None else find_weights(chosen.weights, settings.weights)
    if weights is not None:
        log.info("%s: loading %s from %s", role, weights.id, weights.folder)
    started = time.perf_counter()
    adapter = _load(role, chosen.adapter)
    try:
        model = adapter(**_given(role, adapter, chosen, settings, weights), **_options(adapter, chosen.options))
    except _MissingOptionsError as error:
        named = ", ".join(f"`models.{role}.options.{name}`" for name in error.names)
        noun, it = ("setting", "it") if len(error.names) == 1 else ("settings", "them")
        raise ConfigurationError(f"{noun} {named}: missing, the adapter {chosen.adapter!r} needs {it}") from None
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"setting `models.{role}.options`: {error}") from error
    if isinstance(model, WarmsUp):
        log.info("%s: %s loaded in %.1f s, warming up", role, model.identity.id, time.perf_counter() - started)
        _warm_up(role, model, settings)
        log.info("%s: ready after %.1f s", role, time.perf_counter() - started)
    return model


def _warm_up(role: str, model: WarmsUp, settings: CommonSettings) -> None:
    """Raises ConfigurationError where the device has no room for what a full call takes, or the numbers are too narrow."""
    try:
        model.warm_up()
    except Exception as error:
        full = translated(error)
        if isinstance(error, FloatingPointError):
            raise ConfigurationError(f"setting `compute.dtype`: found {settings.compute.dtype}: {error}") from error
        if not isinstance(full, OutOfMemoryError):
            raise
        raise ConfigurationError(
            f"settings `models.{role}.options` and `compute`: {settings.compute.device} has room for the weights of "
            f"{model.identity.id}, but not for a call in {settings.compute.dtype}: expected less per call, smaller "
            f"numbers, or a device with more room ({' '.join(str(full).split())[:_LONGEST_CAUSE]})"
        ) from error


def _load(role: str, name: str) -> Any:
    module, _, attribute = ADAPTERS[role][name].partition(":")
    try:
        loaded = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"common", "schemas"}:
            raise
        raise ConfigurationError(
            f"setting `models.{role}.adapter`: {name!r} needs the package {error.name!r}, which is not installed: "
            f"pip install 'imgdiff[{EXTRAS.get(name, 'models')}]'"
        ) from error
    adopt_loggers(*_PRINTERS)
    return loaded


def _given(
    role: str, adapter: Any, chosen: ModelSettings, settings: CommonSettings, weights: Weights | None
) -> dict[str, Any]:
    """What the constructor asks for that is no option."""
    asked = get_type_hints(adapter.__init__)
    given: dict[str, Any] = {}
    if "weights" in asked:
        if weights is None:
            raise ConfigurationError(
                f"setting `models.{role}.weights`: missing, the adapter {chosen.adapter!r} needs it"
            )
        given["weights"] = weights
    if "compute" in asked:
        given["compute"] = settings.compute
    if "delay_s" in asked:
        given["delay_s"] = settings.sketch.delay_s
    return given


def _options(adapter: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, typed, where all are there that the adapter's constructor has no default for."""
    typed = _typed(adapter, options)
    required = [
        name
        for name, declared in signature(adapter).parameters.items()
        if declared.default is Parameter.empty and name not in _NO_OPTIONS
    ]
    if missing := [name for name in required if name not in typed]:
        raise _MissingOptionsError(missing)
    return typed


def _typed(adapter: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the adapter's constructor declares them: from an environment variable every value is a text."""
    declared = get_type_hints(adapter.__init__, include_extras=True)
    types = {name: kind for name, kind in declared.items() if name not in _NO_OPTIONS}
    typed = {}
    for option, value in options.items():
        if option not in types:
            raise ValueError(f"found `{option}`, expected one of {', '.join(sorted(types))}")
        try:
            typed[option] = TypeAdapter(types[option]).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            if is_secret(option):
                raise ValueError(f"`{option}`: {first['msg']}") from None
            if first["type"] == "missing":
                raise _MissingOptionsError([".".join([option, *map(str, first["loc"])])]) from None
            raise ValueError(f"`{option}`: {first['msg']}, found {value!r}") from error
    return typed
