"""`boxes`: the Difference Area Generator: where two pictures differ in an object (papers.md 1.4 and 1.5)."""

from common.models.registry import image_encoder, image_text_matcher, segmenter
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Stage
from common.settings import CommonSettings
from schemas.boxes import DifferenceBox
from schemas.pairs import Pair
from schemas.topics import BOXES
from workers.boxes.reasons import BoxesReason
from workers.boxes.settings import BoxesSettings


def build(settings: BoxesSettings, common: CommonSettings) -> Stage[Pair, DifferenceBox]:
    """The stage with its models loaded."""
    from workers.boxes.stage import BoxesStage

    return BoxesStage(settings, image_encoder(common), segmenter(common), image_text_matcher(common))


WORKER = WorkerSpec(route=BOXES, reads=Pair, settings=BoxesSettings, reasons=BoxesReason, build=build)
