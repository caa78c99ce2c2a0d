"""What a batch of pairs replaces, as tensors: by pair, and by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from common.models.prompt_to_prompt.alignment import Tokens, align, padded
from common.models.prompt_to_prompt.schedule import Schedule


@dataclass(frozen=True, slots=True)
class CrossEdit:
    """What the cross-attention of a step takes over from the base prompts.

    `from_base` has shape (pairs, tokens of the base prompt, tokens of the edited prompt): 1 where the base token's map
    stands for the edited one's. `own` has shape (pairs, tokens of the edited prompt, 1): 1 where the edited token keeps
    its own map. Both in the UNet's numbers, on its device.
    """

    from_base: torch.Tensor
    own: torch.Tensor


@dataclass(frozen=True, slots=True)
class StepEdit:
    """What one step replaces in a batch whose last rows are the `pairs` base rows and then the `pairs` edited ones.

    Self-attention of at most `self_tokens` tokens takes the base row's map, 0 for none; `cross` is None for none.
    """

    pairs: int
    self_tokens: int
    cross: CrossEdit | None


class PairEdits:
    """The edits of a batch of pairs.

    `places` has shape (pairs, base, edited), 1 where both are the same token; `until` (pairs, edited) says in how many
    steps that counts. `self_tokens` are the most tokens of a self-attention that is replaced at all.
    """

    def __init__(self, schedule: Schedule, self_tokens: int, places: torch.Tensor, until: torch.Tensor) -> None:
        self._schedule = schedule
        self._self_tokens = self_tokens
        self._places = places
        self._until = until

    def at(self, step: int) -> StepEdit:
        """What the step replaces. That it replaces anything depends on the schedule alone, never on the prompts: all
        batches of one schedule take the same way through the UNet, to the last bit."""
        return StepEdit(
            pairs=len(self._places),
            self_tokens=self._self_tokens if step < self._schedule.self_steps else 0,
            cross=self._cross(step) if step < self._schedule.cross_steps else None,
        )

    def _cross(self, step: int) -> CrossEdit:
        from_base = self._places * (step < self._until)[:, None, :]
        return CrossEdit(from_base, 1 - from_base.sum(1)[:, :, None])


def edits_of(
    schedule: Schedule,
    self_tokens: int,
    pairs: Sequence[tuple[Tokens, Tokens]],
    length: int,
    like: torch.Tensor,
) -> PairEdits:
    """The edits of base and edited prompts. `length` is how many tokens the text encoder gives, padding included;
    the tensors have the numbers and the device of `like`."""
    places = torch.zeros(len(pairs), length, length)
    until = torch.zeros(len(pairs), length, dtype=torch.int64)
    for pair, (base, edited) in enumerate(pairs):
        until[pair] = torch.tensor(schedule.cross_steps_of(edited, length))
        for column, row in enumerate(padded(align(base.ids, edited.ids), length)):
            if row is not None:
                places[pair, row, column] = 1
    return PairEdits(schedule, self_tokens, places.to(like), until.to(like.device))
