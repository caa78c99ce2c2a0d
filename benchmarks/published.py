"""The other side: the same work the published way, transcribed plainly, over the same checkpoints.

One caption, one pair, one crop and one word, one box and one picture at a time; explicit attention maps; crops and
composites go through JPEG files, as the operators of Data-Juicer do it (peers.md 6.3). It is spared what those cost on
top: no graph is kept for gradients, numbers are as on our side, no rows are copied between operators.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image, ImageDraw

from benchmarks.material import DESCRIPTIONS, Material, Sample
from benchmarks.scales import Scale
from common.models.prompts import box_text
from common.settings import ComputeSettings
from schemas.geometry import Box

Loaded = Callable[[Sequence[Sample]], None]

_QUALITY = 95
"""Of JPEG files: OpenCV's default, which the operators keep."""


def load(stage: str, folder: Path, scale: Scale, compute: ComputeSettings, material: Material) -> Loaded:
    """The stage with its models. `folder` has a checkpoint per family; the pairs that are drawn go into the results."""
    run = _BUILDERS[stage](_Place(folder, scale, torch.device(compute.device), getattr(torch, compute.dtype), material))

    def without_graph(samples: Sequence[Sample]) -> None:
        with torch.no_grad():
            run(samples)

    return without_graph


class _Place:
    """Where the checkpoints are, and where and in which numbers they run."""

    def __init__(
        self, folder: Path, scale: Scale, device: torch.device, dtype: torch.dtype, material: Material
    ) -> None:
        self.folder = folder
        self.scale = scale
        self.device = device
        self.dtype = dtype
        self.material = material


class _Edits:
    """One `generate` per caption."""

    def __init__(self, place: _Place) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = place.folder / "editor"
        self._place = place
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=place.dtype).to(place.device).eval()

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._reply(sample.caption)

    def _reply(self, caption: str) -> str:
        from tests.tiny import llama

        inputs = self._tokenizer.apply_chat_template(
            [
                {"role": "system", "content": llama.PROMPT.system},
                {"role": "user", "content": llama.PROMPT.fill({"caption": caption})},
            ],
            chat_template=llama.VICUNA,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        ).to(self._place.device)
        tokens = self._model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            generation_config=_greedy(self._place.scale.edit_tokens, self._tokenizer),
        )
        reply: str = self._tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return reply


class _Pairs:
    """One pair per batch, every attention map written down and those of up to 32 x 32 tokens kept."""

    def __init__(self, place: _Place) -> None:
        from diffusers import StableDiffusionXLPipeline

        self._scale = place.scale
        self._material = place.material
        self._pipeline = StableDiffusionXLPipeline.from_pretrained(
            place.folder / "sdxl", dtype=place.dtype, variant="fp16", use_safetensors=True, add_watermarker=False
        ).to(place.device)

    def __call__(self, samples: Sequence[Sample]) -> None:
        from tests.parity.p2p_reference import Settings, reference_pair

        side = self._scale.side // self._pipeline.vae_scale_factor
        for sample in samples:
            noise = torch.randn(4, side, side, generator=torch.Generator().manual_seed(sample.number))
            prompts = (sample.caption, sample.edited_caption)
            settings = Settings(steps=self._scale.steps)
            pictures = reference_pair(self._pipeline, prompts, noise, settings, keep=True, output_type="pil")
            with self._material.storing():
                for place, picture in enumerate(pictures):
                    _written(picture, self._material.results, f"drawn-{sample.number}-{place}")


class _Boxes:
    """One picture, one crop, one crop and one word at a time."""

    def __init__(self, place: _Place) -> None:
        # Before ultralytics: it sets what ultralytics reads while it is imported.
        from ultralytics import FastSAM

        import common.models.fastsam  # noqa: F401
        from tests.tiny.fastsam import FILE

        self._place = place
        self._clip = _Clip(place)
        self._blip = _Blip(place)
        self._fastsam = FastSAM(place.folder / "fastsam" / FILE)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._clip.similarity(*(_opened(path) for path in sample.paths))
            # Loaded, and not shown to the network: the library reads the paths again.
            pictures = [_opened(path) for path in sample.paths]
            for path in sample.paths:
                self._segment(path)
            with TemporaryDirectory() as folder:
                self._weigh(sample, pictures, Path(folder))

    def _segment(self, path: Path) -> None:
        self._fastsam.predict(
            str(path),
            device=self._place.device,
            conf=0.05,
            iou=0.5,
            imgsz=self._place.scale.segmented,
            retina_masks=True,
            half=self._place.dtype is torch.float16,
            verbose=False,
        )

    def _weigh(self, sample: Sample, pictures: Sequence[Image.Image], folder: Path) -> None:
        words = (sample.words.first, sample.words.second)
        for number, box in enumerate([*sample.boxes[0], *sample.boxes[1]]):
            crops = [_written(_cut(picture, box), folder, f"{number}-{i}") for i, picture in enumerate(pictures)]
            for crop, own in zip(crops, words, strict=True):
                for word in own:
                    self._blip.score(_opened(crop), word)
            self._clip.similarity(*(_opened(crop) for crop in crops))


class _RegionCaptions:
    """One reply per box and picture, from the file on; one match per crop; one text similarity per box."""

    def __init__(self, place: _Place) -> None:
        self._llava = _Llava(place, place.scale.region_tokens)
        self._blip = _Blip(place)
        self._clip = _Clip(place)

    def __call__(self, samples: Sequence[Sample]) -> None:
        from tests.tiny import llava

        for sample in samples:
            for box in sample.boxes[0]:
                prompt = llava.REGION_PROMPT.fill({"box": box_text(box)})
                pictures = [_opened(path) for path in sample.paths]
                texts = [self._llava.reply(picture, prompt, llava.SYSTEM) for picture in pictures]
                with TemporaryDirectory() as folder:
                    for number, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
                        crop = _written(_cut(picture, box.grown(5)), Path(folder), str(number))
                        self._blip.score(_opened(crop), text)
                self._clip.text_similarity(*texts)


class _Qa:
    """One reply per box, about a composite that goes through a file."""

    def __init__(self, place: _Place) -> None:
        self._llava = _Llava(place, place.scale.difference_tokens)

    def __call__(self, samples: Sequence[Sample]) -> None:
        from tests.tiny import llava

        first, second = DESCRIPTIONS
        prompt = llava.DIFFERENCE_PROMPT.fill({"first": first, "second": second})
        for sample in samples:
            pictures = [_opened(path) for path in sample.paths]
            for box in sample.boxes[0]:
                with TemporaryDirectory() as folder:
                    composite = _written(_composite(pictures, box.grown(5)), Path(folder), "composite")
                    self._llava.reply(_opened(composite), prompt, llava.SYSTEM)


_BUILDERS: Mapping[str, Callable[[_Place], Loaded]] = {
    "edits": _Edits,
    "pairs": _Pairs,
    "boxes": _Boxes,
    "region-captions": _RegionCaptions,
    "qa": _Qa,
}


class _Clip:
    """One picture, or one pair of texts, per call."""

    def __init__(self, place: _Place) -> None:
        import json

        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2
        from safetensors.torch import load_file

        folder = place.folder / "clip"
        config = json.loads((folder / "open_clip_config.json").read_text())
        half = place.dtype is not torch.float32
        self._device, self._dtype = place.device, place.dtype
        self._model = open_clip.CLIP(**config["model_cfg"], cast_dtype=place.dtype if half else None)
        self._model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
        if half:
            open_clip.convert_weights_to_lp(self._model, place.dtype)
        self._model = self._model.to(place.device).eval()
        size = config["model_cfg"]["vision_cfg"]["image_size"]
        self._transform = image_transform_v2(PreprocessCfg(**config["preprocess_cfg"], size=size), is_train=False)
        self._tokenizer = open_clip.SimpleTokenizer()

    def similarity(self, first: Image.Image, second: Image.Image) -> float:
        return self._cosine(*(self._model.encode_image(self._pixels(image)) for image in (first, second)))

    def text_similarity(self, first: str, second: str) -> float:
        rows = self._model.encode_text(self._tokenizer([first, second]).to(self._device))
        return self._cosine(rows[:1], rows[1:])

    def _pixels(self, image: Image.Image) -> torch.Tensor:
        return self._transform(image)[None].to(self._device, self._dtype)

    def _cosine(self, first: torch.Tensor, second: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(first.float(), second.float()))


class _Blip:
    """The whole model for one crop and one text."""

    def __init__(self, place: _Place) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

        folder = place.folder / "blip"
        self._device, self._dtype = place.device, place.dtype
        self._model = BlipForImageTextRetrieval.from_pretrained(folder, dtype=place.dtype).to(place.device).eval()
        self._processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._places = self._model.config.text_config.max_position_embeddings

    def score(self, image: Image.Image, text: str) -> float:
        pixels = self._processor(image, return_tensors="pt").pixel_values.to(self._device, self._dtype)
        tokens = self._tokenizer(text, truncation=True, max_length=self._places, return_tensors="pt").to(self._device)
        result = self._model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            pixel_values=pixels,
            use_itm_head=False,
        )
        return float(result.itm_score)


class _Llava:
    """`generate` for one picture and one question."""

    def __init__(self, place: _Place, tokens: int) -> None:
        from transformers import AutoProcessor, LlavaNextForConditionalGeneration

        folder = place.folder / "llava"
        self._device, self._dtype = place.device, place.dtype
        self._model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=place.dtype).to(place.device)
        self._processor = AutoProcessor.from_pretrained(folder, backend="pil")
        self._decoding = _greedy(tokens, self._processor.tokenizer)
        self._model.eval()

    def reply(self, image: Image.Image, prompt: str, system: str) -> str:
        text = f"{system} USER: <image>\n{prompt} ASSISTANT:"
        inputs = self._processor(images=image, text=text, return_tensors="pt").to(self._device, self._dtype)
        tokens = self._model.generate(**inputs, generation_config=self._decoding)
        reply: str = self._processor.tokenizer.decode(
            tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return reply.strip()


def _greedy(tokens: int, tokenizer: Any) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return opened.convert("RGB")


def _cut(picture: Image.Image, box: Box) -> Image.Image:
    return picture.crop((floor(box.x0), floor(box.y0), ceil(box.x1), ceil(box.y1)))


def _written(picture: Image.Image, folder: Path, name: str) -> Path:
    path = folder / f"{name}.jpg"
    picture.save(path, quality=_QUALITY)
    return path


def _composite(pictures: Sequence[Image.Image], box: Box) -> Image.Image:
    """Copies of both with a red box, and a black bar of 20 pixels between."""
    marked = [picture.copy() for picture in pictures]
    for picture in marked:
        ImageDraw.Draw(picture).rectangle((box.x0, box.y0, box.x1, box.y1), outline=(255, 0, 0), width=3)
    first, second = marked
    composite = Image.new("RGB", (first.width + 20 + second.width, first.height))
    composite.paste(first, (0, 0))
    composite.paste(second, (first.width + 20, 0))
    return composite
