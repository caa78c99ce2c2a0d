"""The contact sheet: everything on it, nothing over anything else, whatever the texts and pictures are."""

import numpy as np
import pytest
from PIL import Image

from ops.demo.drawing import CARD, MARGIN, PADDING, PAGE, PICTURE, RED_BOX, WIDTH, Card, Line, Sheet, Shown, Tone, draw
from schemas.geometry import Box

GREEN = (0, 160, 0)


def shown(size: tuple[int, int] = (64, 64), box: Box | None = None) -> Shown:
    return Shown(Image.new("RGB", size, GREEN), "A dog sits.", "A cat sits.", box, Tone.GOOD)


def card(text: str = "What differs?", **fields: object) -> Card:
    given: dict[str, object] = {"pictures": (shown(), shown())}
    return Card("accepted", Tone.GOOD, (Line(text, Tone.PLAIN, "Q"),), **{**given, **fields})  # type: ignore[arg-type]


def sheet(accepted: int = 0, rejected: int = 0, early: int = 0, **fields: str) -> Sheet:
    texts = {"title": "Title", "notice": "Notice", **fields}
    return Sheet(
        **texts,
        accepted=[card()] * accepted,
        rejected=[card()] * rejected,
        early=[card(pictures=())] * early,
    )


def test_it_grows_with_its_cards() -> None:
    heights = [draw(sheet(accepted=n, rejected=1)).height for n in (0, 1, 2, 3, 6)]
    assert heights[0] == heights[1] == heights[2] < heights[3] < heights[4]


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 0, 0), (0, 3, 1), (6, 6, 4), (5, 2, 3)])
def test_any_number_of_cards_fits_on_the_page(counts: tuple[int, int, int]) -> None:
    pixels = np.asarray(draw(sheet(*counts)))
    assert pixels.shape[1] == WIDTH
    page = np.array(PAGE)
    for margin in (pixels[:, : MARGIN - 1], pixels[:, -MARGIN + 2 :], pixels[-10:]):
        assert (margin == page).all()


def test_a_box_is_drawn_where_it_lies() -> None:
    box = Box(x0=32, y0=32, x1=64, y1=64, width=64, height=64)
    with_box = Card("t", Tone.GOOD, (), (shown(box=box), shown()))
    pixels = np.asarray(draw(Sheet("T", "N", [with_box], [], [])))
    rows, columns = np.nonzero((pixels == RED_BOX).all(axis=2))
    top = np.nonzero((pixels == GREEN).all(axis=2))[0].min()
    middle = PICTURE // 2
    assert abs(columns.min() - (MARGIN + PADDING + middle)) < 5
    assert abs(columns.max() - (MARGIN + PADDING + PICTURE)) < 5
    assert abs(rows.min() - (top + middle)) < 5
    assert abs(rows.max() - (top + PICTURE)) < 5


@pytest.mark.parametrize("size", [(64, 64), (640, 80), (80, 640), (1, 1)])
def test_pictures_keep_their_shape(size: tuple[int, int]) -> None:
    one = Card("t", Tone.GOOD, (), (shown(size),))
    pixels = np.asarray(draw(Sheet("T", "N", [one], [], [])))
    rows, columns = np.nonzero((pixels == GREEN).all(axis=2))
    height, width = rows.max() - rows.min() + 3, columns.max() - columns.min() + 3
    assert width / height == pytest.approx(size[0] / size[1], rel=0.1)


def test_a_text_without_spaces_stays_in_its_card() -> None:
    pixels = np.asarray(draw(Sheet("T", "N", [card("x" * 5_000)], [], [])))
    beyond = pixels[200:, MARGIN + CARD + 2 : MARGIN + CARD + 18]
    assert (beyond == np.array(PAGE)).all()


def test_texts_that_the_font_can_not_show_do_no_harm() -> None:
    draw(Sheet("日本語", "\x1b[31m\u202e", [card("🐶 \n\t")], [], []))
