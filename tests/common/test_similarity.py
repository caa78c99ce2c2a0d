"""Cosines of pairs."""

import numpy as np
import pytest

from common.similarity import pair_cosines


def test_rows_are_taken_two_by_two() -> None:
    rows = np.asarray([[1, 0], [0.6, 0.8], [0, 1], [0, -1]], dtype=np.float32)
    assert pair_cosines(rows) == [float(np.float32(0.6)), -1.0]


def test_a_row_without_a_partner_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 embeddings, expected an even number"):
        pair_cosines(np.zeros((3, 2), dtype=np.float32))
