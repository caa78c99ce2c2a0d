"""`pairs`: an image pair for each caption pair, drawn from one latent (papers.md 1.3)."""

from common.models.registry import pair_generator
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Stage
from common.settings import CommonSettings
from schemas.edits import Edit
from schemas.pairs import Pair
from schemas.topics import PAIRS
from workers.pairs.reasons import PairsReason
from workers.pairs.settings import PairsSettings


def build(settings: PairsSettings, common: CommonSettings) -> Stage[Edit, Pair]:
    """The stage with its model loaded."""
    from workers.pairs.stage import PairsStage

    return PairsStage(settings, pair_generator(common))


WORKER = WorkerSpec(route=PAIRS, reads=Edit, settings=PairsSettings, reasons=PairsReason, build=build)
