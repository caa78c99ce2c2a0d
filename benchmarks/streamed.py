"""Our side: the workers' own stages over the real adapters, in batches as the workers take them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.material import Material, Sample
from benchmarks.scales import Scale
from common.models.prompts import Decoding
from common.models.protocols import Segmenter, WarmsUp
from common.models.weights import Weights
from common.runtime.stage import Emit, Stage
from common.settings import ComputeSettings
from schemas.geometry import Box
from schemas.record import Record
from schemas.scores import Bounds

Loaded = Callable[[Sequence[Sample]], list[Record]]
"""The records that a stage makes of samples. The pictures are loaded and what the stage draws is stored."""

_OPEN = Bounds()
"""Random models pass no threshold: so every box is measured by every filter, on both sides."""


class FixedBoxes:
    """The segmenter's work, and then the boxes of the sample: those of random weights mean nothing."""

    def __init__(self, segmenter: Segmenter, boxes: Sequence[Sequence[Box]]) -> None:
        """`boxes` are those of the first and of the second picture of every pair."""
        self.identity = segmenter.identity
        self._segmenter = segmenter
        self._boxes = boxes

    def segment(self, images: Sequence[Image.Image]) -> list[Sequence[Box]]:
        self._segmenter.segment(images)
        return [self._boxes[place % 2] for place in range(len(images))]


def load(stage: str, folder: Path, scale: Scale, compute: ComputeSettings, material: Material) -> Loaded:
    """The stage with its models, warmed up. `folder` has a checkpoint per family."""
    return _BUILDERS[stage](_Models(folder, scale, compute), material)


class _Models:
    """The real adapters on the checkpoints of a folder."""

    def __init__(self, folder: Path, scale: Scale, compute: ComputeSettings) -> None:
        self._folder = folder
        self.scale = scale
        self._compute = compute

    def build(self, adapter: Any, family: str, **options: Any) -> Any:
        model = adapter(
            weights=Weights(f"random/{family}", "1", self._folder / family), compute=self._compute, **options
        )
        if isinstance(model, WarmsUp):
            model.warm_up()
        return model

    def matcher(self) -> Any:
        from common.models.blip import BlipItcMatcher

        return self.build(BlipItcMatcher, "blip")


def _edits(models: _Models, material: Material) -> Loaded:
    from common.models.chat_editor import ChatCaptionEditor
    from tests.tiny import llama
    from workers.edits.settings import EditsSettings
    from workers.edits.stage import EditsStage

    editor = models.build(
        ChatCaptionEditor,
        "editor",
        prompt=llama.PROMPT,
        template=llama.VICUNA,
        decoding=Decoding(models.scale.edit_tokens),
    )
    settings = EditsSettings()
    return _runner(EditsStage(settings, editor), settings.batch_size, material, lambda sample: [sample.record])


def _pairs(models: _Models, material: Material) -> Loaded:
    from common.models.prompt_to_prompt.generator import PromptToPromptGenerator
    from workers.pairs.settings import PairsSettings
    from workers.pairs.stage import PairsStage

    scale = models.scale
    generator = models.build(
        PromptToPromptGenerator, "sdxl", steps=scale.steps, size=scale.side, pairs_per_call=scale.pairs_per_call
    )
    settings = PairsSettings(grey_levels=_OPEN)
    return _runner(PairsStage(settings, generator), settings.batch_size, material, lambda sample: [sample.edit])


def _boxes(models: _Models, material: Material) -> Loaded:
    from common.models.clip import ClipImageEncoder
    from common.models.fastsam import FastSamSegmenter
    from workers.boxes.settings import BoxesSettings
    from workers.boxes.stage import BoxesStage

    segmenter = models.build(FastSamSegmenter, "fastsam", image_size=models.scale.segmented)
    fixed = FixedBoxes(segmenter, material.samples(0, 1)[0].boxes)
    settings = BoxesSettings(pair_similarity=_OPEN, crop_similarity=_OPEN, object_match=_OPEN)
    stage = BoxesStage(settings, models.build(ClipImageEncoder, "clip"), fixed, models.matcher())
    return _runner(stage, settings.batch_size, material, lambda sample: [sample.pair])


def _region_captions(models: _Models, material: Material) -> Loaded:
    from common.models.clip import ClipTextEncoder
    from common.models.llava_next.region_describer import LlavaNextRegionDescriber
    from tests.tiny import llava
    from workers.region_captions.settings import RegionCaptionsSettings
    from workers.region_captions.stage import RegionCaptionsStage

    describer = models.build(
        LlavaNextRegionDescriber,
        "llava",
        prompt=llava.REGION_PROMPT,
        template=llava.VICUNA_V1,
        decoding=Decoding(models.scale.region_tokens),
    )
    settings = RegionCaptionsSettings(text_match=_OPEN, text_similarity=_OPEN)
    stage = RegionCaptionsStage(settings, describer, models.matcher(), models.build(ClipTextEncoder, "clip"))
    return _runner(stage, settings.batch_size, material, lambda sample: sample.regions)


def _qa(models: _Models, material: Material) -> Loaded:
    from common.models.llava_next.difference_describer import LlavaNextDifferenceDescriber
    from tests.tiny import llava
    from workers.qa.settings import QaSettings
    from workers.qa.stage import QaStage

    describer = models.build(
        LlavaNextDifferenceDescriber,
        "llava",
        prompt=llava.DIFFERENCE_PROMPT,
        template=llava.VICUNA_V1,
        decoding=Decoding(models.scale.difference_tokens),
    )
    settings = QaSettings()
    return _runner(QaStage(settings, describer), settings.batch_size, material, lambda sample: sample.described)


_BUILDERS: Mapping[str, Callable[[_Models, Material], Loaded]] = {
    "edits": _edits,
    "pairs": _pairs,
    "boxes": _boxes,
    "region-captions": _region_captions,
    "qa": _qa,
}


def _runner(
    stage: Stage[Any, Any], batch_size: int, material: Material, records_of: Callable[[Sample], Sequence[Record]]
) -> Loaded:
    def run(samples: Sequence[Sample]) -> list[Record]:
        tasks = material.tasks([record for sample in samples for record in records_of(sample)])
        made: list[Record] = []
        for start in range(0, len(tasks), batch_size):
            for outcome in stage.process(tasks[start : start + batch_size]):
                if isinstance(outcome, Emit):
                    material.store(outcome.images)
                    made += outcome.records
        return made

    return run
