"""`region-captions`: what a box shows in both pictures, checked against the pictures and each other (papers.md 1.6)."""

from common.models.registry import image_text_matcher, region_describer, text_encoder
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Stage
from common.settings import CommonSettings
from schemas.boxes import DifferenceBox
from schemas.region_captions import RegionCaption
from schemas.topics import REGION_CAPTIONS
from workers.region_captions.reasons import RegionCaptionsReason
from workers.region_captions.settings import RegionCaptionsSettings


def build(settings: RegionCaptionsSettings, common: CommonSettings) -> Stage[DifferenceBox, RegionCaption]:
    """The stage with its models loaded."""
    from workers.region_captions.stage import RegionCaptionsStage

    return RegionCaptionsStage(settings, region_describer(common), image_text_matcher(common), text_encoder(common))


WORKER = WorkerSpec(
    route=REGION_CAPTIONS,
    reads=DifferenceBox,
    settings=RegionCaptionsSettings,
    reasons=RegionCaptionsReason,
    build=build,
)
