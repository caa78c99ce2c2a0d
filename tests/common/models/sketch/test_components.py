import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.models.sketch.components import Component, components_of


def _flooded(mask: np.ndarray) -> set[Component]:
    """The same by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = set()
    while left:
        front = [left.pop()]
        pixels = []
        while front:
            y, x = front.pop()
            pixels.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front.extend(near)
        ys, xs = zip(*pixels, strict=True)
        found.add(Component(min(xs), min(ys), max(xs) + 1, max(ys) + 1, len(pixels)))
    return found


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.booleans()))
def test_components_are_those_of_a_flood_fill(mask: np.ndarray) -> None:
    found = components_of(mask)
    assert set(found) == _flooded(mask)
    assert sum(component.area for component in found) == int(mask.sum())
