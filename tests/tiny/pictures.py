"""Pictures for tiny models."""

import numpy as np
from PIL import Image


def patches(seed: int, size: tuple[int, int]) -> Image.Image:
    """6 x 6 flat patches of random colours, (width, height) pixels in all."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)
