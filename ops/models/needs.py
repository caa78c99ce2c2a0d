"""Which weights the settings need: one need per role, one source per model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.runtime.errors import ConfigurationError
from common.settings import ModelSettings, ModelsSettings, WeightsSource

ROLES = tuple(ModelsSettings.model_fields)


@dataclass(frozen=True, slots=True)
class Need:
    """What stands behind a role. `source` is None where nothing has to be on this machine (`sketch`, an endpoint)."""

    role: str
    adapter: str
    source: WeightsSource | None


def needs_of(models: ModelsSettings) -> Sequence[Need]:
    """A need per role that has a model, in the order of the settings."""
    chosen: list[tuple[str, ModelSettings | None]] = [(role, getattr(models, role)) for role in ROLES]
    return [Need(role, model.adapter, model.weights) for role, model in chosen if model is not None]


def sources_of(needs: Iterable[Need]) -> Sequence[WeightsSource]:
    """Each model once, with the files that any of the roles needs.

    Raises ConfigurationError where two roles want one model from two places: they would share its folder.
    """
    found: dict[str, tuple[str, WeightsSource]] = {}
    for need in needs:
        if need.source is None:
            continue
        role, first = found.setdefault(need.source.id, (need.role, need.source))
        if first.model_copy(update={"files": ()}) != need.source.model_copy(update={"files": ()}):
            raise ConfigurationError(
                f"settings `models.{role}.weights` and `models.{need.role}.weights`: {first.id} with different `revision`, "
                "`path` or `url`, expected the same, or another `id`"
            )
        files = tuple(dict.fromkeys((*first.files, *need.source.files)))
        found[first.id] = (role, first.model_copy(update={"files": files}))
    return [source for _, source in found.values()]
