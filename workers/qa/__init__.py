"""`qa`: the difference told from red boxes, as a question and its answer (papers.md 1.7)."""

from common.models.registry import difference_describer, naturalness_judge
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Stage
from common.settings import CommonSettings
from schemas.qa import DifferenceQa
from schemas.region_captions import RegionCaption
from schemas.topics import QA
from workers.qa.reasons import QaReason
from workers.qa.settings import QaSettings


def build(settings: QaSettings, common: CommonSettings) -> Stage[RegionCaption, DifferenceQa]:
    """The stage with its models loaded."""
    from workers.qa.stage import QaStage

    judge = naturalness_judge(common) if settings.check_naturalness else None
    return QaStage(settings, difference_describer(common), judge)


WORKER = WorkerSpec(route=QA, reads=RegionCaption, settings=QaSettings, reasons=QaReason, build=build)
