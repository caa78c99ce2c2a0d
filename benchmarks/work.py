"""Counts what work costs: forward passes, pictures through vision towers, decodes, files written.

Networks are told by their classes, wherever they sit, so that two programs over the same models are counted alike. Only
the outermost of nested networks counts.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from os import O_RDWR, O_WRONLY, fsdecode
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import ImageFile
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

NETWORKS: Mapping[tuple[str, str], str] = {
    ("transformers", "LlamaModel"): "language",
    ("transformers", "CLIPVisionModel"): "llava_vision",
    ("transformers", "CLIPTextModel"): "sdxl_text",
    ("transformers", "CLIPTextModelWithProjection"): "sdxl_text",
    ("transformers", "BlipVisionModel"): "blip_vision",
    ("transformers", "BlipTextModel"): "blip_text",
    ("diffusers", "UNet2DConditionModel"): "unet",
    ("diffusers", "Decoder"): "vae",
    ("open_clip", "VisionTransformer"): "clip_vision",
    ("open_clip", "Transformer"): "clip_text",
    ("ultralytics", "SegmentationModel"): "fastsam",
}
"""Library and class of every network of the chain, and what it is called here."""

_INPUTS = ("inputs_embeds", "input_ids", "pixel_values", "sample")
"""Which argument tells how many rows a call has, where none is given by place."""

_NO_FILES = ("/dev/", "/proc/", "/sys/")


@dataclass
class Network:
    """Calls of one network: how many, of how many rows in all, and for a language model of how many places."""

    calls: int = 0
    rows: int = 0
    places: int = 0


@dataclass
class Work:
    """What was counted. `written` are the files opened for writing, `decodes` pictures whose pixels were unpacked."""

    networks: dict[str, Network] = field(default_factory=dict)
    decodes: int = 0
    written: list[Path] = field(default_factory=list)

    def of(self, network: str) -> Network:
        """The calls of a network, none where it was not called."""
        return self.networks.get(network, Network())

    @property
    def calls(self) -> int:
        """Forward passes of all networks."""
        return sum(network.calls for network in self.networks.values())

    @property
    def encodes(self) -> int:
        """Pictures through vision towers. LLaVA's tower takes all tiles of a picture in one call."""
        return sum(self.of(name).rows for name in ("clip_vision", "blip_vision", "fastsam")) + self.llava_encodes

    @property
    def llava_encodes(self) -> int:
        """Pictures through LLaVA's vision tower."""
        return self.of("llava_vision").calls

    def outside(self, folder: Path) -> list[Path]:
        """Files written elsewhere than in the folder of results: temporary ones."""
        return [path for path in self.written if not path.is_relative_to(folder)]


@contextmanager
def counted() -> Iterator[Work]:
    """Counts until the end of the block. The networks have to be called by one thread."""
    work = Work()
    with ExitStack() as stack:
        stack.enter_context(_counted_networks(work))
        stack.enter_context(_counted_decodes(work))
        stack.enter_context(_counted_files(work))
        yield work


@contextmanager
def _counted_networks(work: Work) -> Iterator[None]:
    within: list[Any] = []

    def enter(module: Any, arguments: Any) -> None:
        if _name_of(module) is not None:
            within.append(module)

    def leave(module: Any, arguments: Any, keywords: Any, result: Any) -> None:
        name = _name_of(module)
        if name is None:
            return
        within.pop()
        if within:
            return
        shape = _shape_of(arguments, keywords)
        network = work.networks.setdefault(name, Network())
        network.calls += 1
        network.rows += shape[0]
        network.places += shape[0] * shape[1] if name == "language" else 0

    # The hook before a pass does not see keywords, the one behind it does.
    hooks = [
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, with_kwargs=True, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _name_of(module: Any) -> str | None:
    kind = type(module)
    return NETWORKS.get((kind.__module__.partition(".")[0], kind.__name__))


def _shape_of(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Sequence[int]:
    given = [*arguments, *(keywords.get(name) for name in _INPUTS)]
    shape: Sequence[int] = next(each.shape for each in given if hasattr(each, "shape"))
    return shape


@contextmanager
def _counted_decodes(work: Work) -> Iterator[None]:
    """By Pillow, and by OpenCV where it is there: ultralytics reads paths with it."""
    load = ImageFile.ImageFile.load

    def counting(image: Any) -> Any:
        # Without tiles left to read the pixels are there already.
        work.decodes += bool(image.tile)
        return load(image)

    with ExitStack() as stack:
        stack.enter_context(patch.object(ImageFile.ImageFile, "load", counting))
        if (cv2 := sys.modules.get("cv2")) is not None:
            decode = cv2.imdecode

            def counting_too(*arguments: Any, **keywords: Any) -> Any:
                work.decodes += 1
                return decode(*arguments, **keywords)

            stack.enter_context(patch.object(cv2, "imdecode", counting_too))
        yield


_watching: list[Callable[[Path], None]] = []
_hooked: list[bool] = []


@contextmanager
def _counted_files(work: Work) -> Iterator[None]:
    """Every file that Python opens for writing, counted once, but for the byte code of modules that are imported on the way."""
    if not _hooked:
        # Python takes no such hook back.
        sys.addaudithook(_audit)
        _hooked.append(True)

    def note(path: Path) -> None:
        # What is opened is told before it is there: a folder may be missing, and the same file be opened again.
        if path not in work.written and path.suffix != ".pyc":
            work.written.append(path)

    _watching.append(note)
    try:
        yield
    finally:
        _watching.remove(note)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event != "open":
        return
    path, _, flags = arguments
    if not flags & (O_WRONLY | O_RDWR) or isinstance(path, int):
        return
    file = Path(fsdecode(path)).absolute()
    # `tempfile` opens a file in two steps, of which the first one names the folder.
    if not str(file).startswith(_NO_FILES) and not file.is_dir():
        for note in list(_watching):
            note(file)
