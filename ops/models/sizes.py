"""How large the published models are, computed from their architectures: what can be said before anything is downloaded.

By the id of a model, so that another model in the place of a profile's is not taken for that one. The counts are those of
the architectures built from the published configurations. In which numbers the files have them is known from how each model
was published. No file was looked at: what a download then brings is in the lock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.settings import WeightsSettings, WeightsSource
from ops.models.presence import presence_of

HALF = 2
"""Bytes of a number in 16 bits."""

SINGLE = 4
"""Bytes of a number in 32 bits."""

_ANYTHING = "*"
_HALVES = ".fp16."
"""How the names of files differ that have in 16 bits what others beside them have in 32."""


@dataclass(frozen=True, slots=True)
class Published:
    """The numbers of a model, by the part that they belong to. `width` is how many bytes each takes in the files.

    Without a `width` each part has a folder of its own, and the names of the files in there tell.
    `kept` is how many numbers a language model keeps of every token that it has read (keys and values of all layers).
    """

    parts: Mapping[str, int]
    width: int | None
    kept: int = 0

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())


WHOLE = "model"
"""The part of a model that is loaded as one."""

VICUNA_7B_KEPT = 2 * 32 * 4096
VICUNA_13B_KEPT = 2 * 40 * 5120
"""Keys and values, layers, and the width of all heads."""

PUBLISHED: Mapping[str, Published] = {
    "lmsys/vicuna-7b-v1.5": Published({WHOLE: 6_738_415_616}, HALF, VICUNA_7B_KEPT),
    "lmsys/vicuna-13b-v1.5": Published({WHOLE: 13_015_864_320}, HALF, VICUNA_13B_KEPT),
    "Qwen/Qwen2-7B-Instruct": Published({WHOLE: 7_615_616_512}, HALF, 2 * 28 * 4 * 128),
    "llava-hf/llava-v1.6-vicuna-7b-hf": Published({WHOLE: 7_063_431_168}, HALF, VICUNA_7B_KEPT),
    "llava-hf/llava-v1.6-vicuna-13b-hf": Published({WHOLE: 13_351_499_776}, HALF, VICUNA_13B_KEPT),
    "stabilityai/stable-diffusion-xl-base-1.0": Published(
        {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840}, None
    ),
    "timm/vit_base_patch32_clip_224.openai": Published(
        {"visual": 87_849_216, "token_embedding": 25_296_896, "text": 38_131_201}, SINGLE
    ),
    "ultralytics/FastSAM-x": Published({WHOLE: 71_751_811}, HALF),
    "Salesforce/blip-itm-base-coco": Published({WHOLE: 223_744_258}, SINGLE),
    "Salesforce/blip-itm-large-coco": Published({WHOLE: 446_128_642}, SINGLE),
}
"""Vicuna, LLaVA and FastSAM-x are in float16, Qwen2 in bfloat16, CLIP and BLIP in float32."""


def computed_size(source: WeightsSource) -> int | None:
    """About how many bytes a download of the model brings: its numbers, without the small files beside them.

    None for a model that is not known here, for a folder of one's own, and where `files` do not tell which of several
    files with the same numbers are meant.
    """
    model = PUBLISHED.get(source.id)
    if model is None or source.path is not None or _ANYTHING in source.files:
        return None
    if model.width is not None:
        return model.parameters * model.width
    widths = {part: _width(part, source.files) for part in model.parts}
    known = [count * width for part, count in model.parts.items() if (width := widths[part]) is not None]
    return sum(known) if len(known) == len(model.parts) else None


def _width(part: str, files: tuple[str, ...]) -> int | None:
    """Of the numbers in the one file of tensors that is named in a folder."""
    named = [name for name in files if name.startswith(f"{part}/") and name.endswith(".safetensors")]
    if len(named) != 1 or _ANYTHING in named[0]:
        return None
    return HALF if _HALVES in named[0] else SINGLE


@dataclass(frozen=True, slots=True)
class Total:
    """What `models download` brings: the bytes of the models that are known, `computed` where a part of them is, and the
    ids of the others."""

    bytes: int
    computed: bool
    unknown: Sequence[str]


def total_of(sources: Iterable[WeightsSource], settings: WeightsSettings) -> Total:
    """Of several models, each given once. What is locked counts as it is locked, a folder of one's own does not."""
    fetched = [source for source in sources if source.path is None]
    locked = {source.id: presence_of(source, settings).size for source in fetched}
    computed = {source.id: computed_size(source) for source in fetched if locked[source.id] is None}
    return Total(
        bytes=sum(size for size in (*locked.values(), *computed.values()) if size is not None),
        computed=any(size is not None for size in computed.values()),
        unknown=[id for id, size in computed.items() if size is None],
    )
