"""`edits`: a language model replaces one object of a caption; the reply is cleaned and checked (papers.md 1.2)."""

from common.models.registry import caption_editor
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Stage
from common.settings import CommonSettings
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.topics import EDITS
from workers.edits.reasons import EditsReason
from workers.edits.settings import EditsSettings


def build(settings: EditsSettings, common: CommonSettings) -> Stage[Caption, Edit]:
    """The stage with its model loaded."""
    from workers.edits.stage import EditsStage

    return EditsStage(settings, caption_editor(common))


WORKER = WorkerSpec(route=EDITS, reads=Caption, settings=EditsSettings, reasons=EditsReason, build=build)
