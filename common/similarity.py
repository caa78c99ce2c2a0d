"""Cosines between embeddings that were made in one call."""

import numpy as np

from common.models.protocols import Embeddings


def pair_cosines(embeddings: Embeddings) -> list[float]:
    """The cosine of rows 0 and 1, of rows 2 and 3, and so on. Summed as float64, so that no cosine depends on its batch.

    Raises ValueError where a row has no partner.
    """
    if len(embeddings) % 2:
        raise ValueError(f"{len(embeddings)} embeddings, expected an even number")
    rows = embeddings.astype(np.float64)
    return [float(np.dot(first, second)) for first, second in zip(rows[::2], rows[1::2], strict=True)]
