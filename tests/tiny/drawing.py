"""Random weights that are large enough to tell right from wrong."""

from typing import Any

import torch


@torch.no_grad()
def draw_weights(model: Any, seed: int, gain: float) -> None:
    """Fills every parameter from the seed. Matrices keep the size of what goes through them, times `gain`: with the small
    weights that libraries start from, another picture or another activation would hardly show in a score."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise * gain / parameter[0].numel() ** 0.5)
        else:
            # Scales of norms are 1 at the start, biases 0.
            parameter.copy_(parameter.round() + 0.2 * noise)
