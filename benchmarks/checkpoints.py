"""Checkpoints of random weights on disk: the tiny ones of the tests, or the real architectures in their real sizes.

The real ones come from their published configurations. Files of words and of preprocessing are the tiny ones': a
vocabulary of a few hundred pieces in the place of 32,000 makes prompts a few times longer, for both sides alike.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.architectures import (
    CLIP_VIT_B_32,
    FASTSAM_X,
    LLAMA_7B,
    VIT_L_16,
    blip_config,
    llama_config,
    llava_config,
    sdxl_parts,
)
from benchmarks.scales import Scale

_SEED = 0
_BYTES = 3 + 256
"""The tokens before the first letter of the tiny tokenizers of Llama: special ones and bytes."""


def write(family: str, scale: Scale, folder: Path, device: str) -> None:
    """Write the checkpoint of a family (a key of TINY) in the scale's numbers. Large weights are drawn on the device."""
    folder.mkdir(parents=True, exist_ok=True)
    TINY[family](folder)
    if scale.name == "full":
        _Large(folder, torch.device(device), getattr(torch, scale.dtype)).write(family)


def _tiny_clip(folder: Path) -> None:
    from tests.tiny import clip

    clip.save(folder, _SEED)


def _tiny_blip(folder: Path) -> None:
    from tests.tiny import blip

    blip.save(folder, _SEED)


def _tiny_fastsam(folder: Path) -> None:
    from tests.tiny import fastsam

    fastsam.save(folder, _SEED)


def _tiny_llava(folder: Path) -> None:
    from tests.tiny import llava

    llava.save(folder, _SEED)


def _tiny_editor(folder: Path) -> None:
    from tests.tiny import llama

    llama.save(folder, _SEED)


def _tiny_sdxl(folder: Path) -> None:
    from tests.tiny import sdxl

    sdxl.save(folder, _SEED)


TINY: Mapping[str, Callable[[Path], None]] = {
    "editor": _tiny_editor,
    "sdxl": _tiny_sdxl,
    "clip": _tiny_clip,
    "fastsam": _tiny_fastsam,
    "blip": _tiny_blip,
    "llava": _tiny_llava,
}
"""By family: what writes the tiny checkpoint."""


class _Large:
    """Puts a model of the real size into the place of the tiny one in a folder."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._folder = folder
        self._device = device
        self._dtype = dtype

    def write(self, family: str) -> None:
        getattr(self, f"_{family}")()

    def _editor(self) -> None:
        """Vicuna-7B-1.5."""
        from transformers import AutoTokenizer, LlamaForCausalLM

        config = llama_config(LLAMA_7B)
        model = self._drawn(lambda: LlamaForCausalLM(config))
        self._never_silent(model.lm_head, len(AutoTokenizer.from_pretrained(self._folder)))
        self._replace(model)

    def _llava(self) -> None:
        """LLaVA-NeXT on Vicuna-7B."""
        from transformers import AutoTokenizer, LlavaNextForConditionalGeneration

        tokenizer = AutoTokenizer.from_pretrained(self._folder)
        config = llava_config(
            LLAMA_7B,
            bos=tokenizer.bos_token_id,
            eos=tokenizer.eos_token_id,
            pad=tokenizer.pad_token_id,
            image=tokenizer.convert_tokens_to_ids("<image>"),
        )
        model = self._drawn(lambda: LlavaNextForConditionalGeneration(config))
        self._never_silent(model.lm_head, tokenizer.pad_token_id)
        self._replace(model)
        self._edit(
            "preprocessor_config.json",
            size={"shortest_edge": 336},
            crop_size={"height": 336, "width": 336},
            image_grid_pinpoints=config.image_grid_pinpoints,
        )

    def _blip(self) -> None:
        """BLIP ITM large."""
        from transformers import BlipForImageTextRetrieval

        config = blip_config(VIT_L_16)
        self._replace(self._drawn(lambda: BlipForImageTextRetrieval(config)))
        self._edit("preprocessor_config.json", size={"height": 384, "width": 384})

    def _clip(self) -> None:
        """CLIP ViT-B/32 with QuickGELU."""
        import open_clip
        from safetensors.torch import save_file

        from tests.tiny import clip

        config = open_clip.get_model_config(CLIP_VIT_B_32)
        model = self._drawn(lambda: open_clip.CLIP(**config))
        save_file(model.float().cpu().state_dict(), self._folder / "open_clip_model.safetensors")
        clip.save_config(self._folder, config)

    def _fastsam(self) -> None:
        from tests.tiny import fastsam

        fastsam.save(self._folder, _SEED, FASTSAM_X)

    def _sdxl(self) -> None:
        for name, build in sdxl_parts().items():
            self._replace(self._drawn(build), name, variant="fp16")

    def _drawn(self, build: Callable[[], Any]) -> Any:
        """The model with weights that keep the size of what goes through them; no value is ever drawn twice."""
        with torch.device("meta"):
            model = build()
        model = model.to(self._dtype).to_empty(device=self._device)
        generator = torch.Generator(self._device).manual_seed(_SEED)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1 or "embedding" in name:
                    fan_in = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
                    parameter.normal_(std=fan_in**-0.5, generator=generator)
                else:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        return model.eval()

    def _never_silent(self, head: Any, end: int) -> None:
        """Only letters are ever said: no reply ends early, and each is as long as it may get."""
        with torch.no_grad():
            head.weight[:_BYTES] = 0
            head.weight[end:] = 0

    def _replace(self, model: Any, subfolder: str = "", **arguments: Any) -> None:
        folder = self._folder / subfolder
        for old in folder.glob("*.safetensors*"):
            # The new file may be called otherwise, or be several.
            old.unlink()
        model.save_pretrained(folder, **arguments)

    def _edit(self, name: str, **values: Any) -> None:
        path = self._folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
