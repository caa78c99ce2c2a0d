"""Draws a contact sheet: two halves of cards, accepted and rejected, and a strip of texts below."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from PIL import Image, ImageDraw, ImageFont

from common.pictures import pixels_of
from schemas.geometry import Box

Colour = tuple[int, int, int]

PAGE: Colour = (244, 245, 247)
PAPER: Colour = (255, 255, 255)
EDGE: Colour = (221, 224, 230)
INK: Colour = (28, 32, 40)
RED_BOX: Colour = (235, 20, 20)


class Tone(Enum):
    """The colours that text comes in."""

    PLAIN = INK
    QUIET = (88, 96, 110)
    FAINT = (112, 119, 133)
    GOOD = (14, 122, 74)
    BAD = (188, 36, 36)


MARGIN = 40
GAP = 20
HALVES_GAP = 48
PADDING = 16
PICTURE = 264
"""Side of a picture's place in pixels; pictures keep their shape inside it."""

CARD = 2 * PICTURE + 12 + 2 * PADDING
COLUMNS = 2
"""Columns of cards in each half."""

HALF = COLUMNS * CARD + (COLUMNS - 1) * GAP
WIDTH = 2 * MARGIN + 2 * HALF + HALVES_GAP
STRIP = 4
STRIP_CARD = (WIDTH - 2 * MARGIN - (STRIP - 1) * GAP) // STRIP

TITLE_SIZE = 38
NOTICE_SIZE = 22
HEADING_SIZE = 26
TEXT_SIZE = 18
SMALL_SIZE = 16
LEADING = 1.34
LABEL = 26
"""Width of the place for a `Q` or an `A` before its text."""


@dataclass(frozen=True, slots=True)
class Line:
    """A text of a card, wrapped as it needs; `label` stands before it."""

    text: str
    tone: Tone
    label: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture with its caption under it. Words that `other` does not have stand out."""

    image: Image.Image
    caption: str
    other: str
    box: Box | None
    tone: Tone


@dataclass(frozen=True, slots=True)
class Card:
    """One sample: what became of it, its pictures if it has any, and what there is to say."""

    tag: str
    tone: Tone
    lines: Sequence[Line]
    pictures: Sequence[Shown] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is to be drawn. `early` are rejections from before there were pictures."""

    title: str
    notice: str
    accepted: Sequence[Card]
    rejected: Sequence[Card]
    early: Sequence[Card]


def draw(sheet: Sheet) -> Image.Image:
    """The sheet as an RGB picture, as high as it needs to be."""
    measured = _paint(Image.new("RGB", (1, 1)), sheet)
    page = Image.new("RGB", (WIDTH, measured), PAGE)
    _paint(page, sheet)
    return page


def _paint(page: Image.Image, sheet: Sheet) -> int:
    """Draws everything and returns the height that it takes; outside the page nothing is drawn."""
    pen = _Pen(page)
    y = MARGIN
    y = pen.text(sheet.title, MARGIN, y, WIDTH, size=TITLE_SIZE, tone=Tone.PLAIN)
    y = pen.text(sheet.notice, MARGIN, y + 4, WIDTH - 2 * MARGIN, size=NOTICE_SIZE, tone=Tone.BAD) + GAP
    right = MARGIN + HALF + HALVES_GAP
    top = max(
        pen.heading("Accepted: with their region, question and answer", MARGIN, y, HALF, Tone.GOOD),
        pen.heading("Rejected: with the reason, and what was measured", right, y, HALF, Tone.BAD),
    )
    y = _halves(pen, sheet, right, top)
    if sheet.early:
        y = pen.heading("Rejected before a picture was drawn", MARGIN, y + GAP, WIDTH - 2 * MARGIN, Tone.BAD)
        y = _grid(pen, sheet.early, MARGIN, y, width=STRIP_CARD, columns=STRIP)
    return y + MARGIN - GAP


def _halves(pen: "_Pen", sheet: Sheet, right: int, y: int) -> int:
    """The cards of both halves, rows in line; the y below them."""
    for x, cards in ((MARGIN, sheet.accepted), (right, sheet.rejected)):
        if not cards:
            pen.text("none in this run", x, y, HALF, size=TEXT_SIZE, tone=Tone.FAINT)
    longest = max(len(sheet.accepted), len(sheet.rejected))
    if not longest:
        return y + 2 * GAP
    for start in range(0, longest, COLUMNS):
        here = [(x, cards[start : start + COLUMNS]) for x, cards in ((MARGIN, sheet.accepted), (right, sheet.rejected))]
        height = max(_row_height(row, CARD) for _, row in here)
        for x, row in here:
            _row(pen, row, x, y, width=CARD, height=height)
        y += height + GAP
    return y


def _grid(pen: "_Pen", cards: Sequence[Card], x: int, y: int, *, width: int, columns: int) -> int:
    """Cards in rows of one height each; the y below them."""
    for start in range(0, len(cards), columns):
        row = cards[start : start + columns]
        height = _row_height(row, width)
        _row(pen, row, x, y, width=width, height=height)
        y += height + GAP
    return y


def _row_height(row: Sequence[Card], width: int) -> int:
    return max((_card(_Pen.blind(), card, 0, 0, width) for card in row), default=0)


def _row(pen: "_Pen", row: Sequence[Card], x: int, y: int, *, width: int, height: int) -> None:
    for index, card in enumerate(row):
        left = x + index * (width + GAP)
        pen.panel(left, y, width, height)
        _card(pen, card, left, y, width)


def _card(pen: "_Pen", card: Card, x: int, y: int, width: int) -> int:
    """One card's inside; the y of its lower edge."""
    left, inner = x + PADDING, width - 2 * PADDING
    y = pen.tag(card.tag, left, y + PADDING, card.tone) + 12
    if card.pictures:
        bottom = y
        for index, shown in enumerate(card.pictures):
            place = left + index * (PICTURE + 12)
            pen.picture(shown, place, y)
            bottom = max(bottom, pen.caption(shown, place, y + PICTURE + 8, PICTURE))
        y = bottom + 10
    for line in card.lines:
        indent = LABEL if line.label and len(line.label) == 1 else 0
        text = line.text if not line.label or indent else f"{line.label}: {line.text}"
        if indent:
            pen.text(line.label, left, y, LABEL, size=TEXT_SIZE, tone=card.tone)
        size = SMALL_SIZE if line.tone in {Tone.FAINT, Tone.BAD} else TEXT_SIZE
        y = pen.text(text, left + indent, y, inner - indent, size=size, tone=line.tone) + 5
    return y + PADDING - 5


class _Pen:
    """Draws texts and pictures on a page. Its methods return the y below what they drew."""

    def __init__(self, page: Image.Image) -> None:
        self._page = page
        self._draw = ImageDraw.Draw(page)

    @classmethod
    def blind(cls) -> "_Pen":
        """A pen that only measures."""
        return cls(Image.new("RGB", (1, 1)))

    def text(self, text: str, x: int, y: int, width: int, *, size: int, tone: Tone) -> int:
        return self._words([(word, tone) for word in text.split()], x, y, width, size)

    def caption(self, shown: Shown, x: int, y: int, width: int) -> int:
        """A caption in which the words stand out that the other one does not have."""
        others = {_bare(word) for word in shown.other.split()}
        words = [(word, Tone.QUIET if _bare(word) in others else shown.tone) for word in shown.caption.split()]
        return self._words(words, x, y, width, SMALL_SIZE)

    def heading(self, text: str, x: int, y: int, width: int, tone: Tone) -> int:
        bottom = self.text(text, x, y, width, size=HEADING_SIZE, tone=tone) + 4
        self._draw.rectangle((x, bottom, x + width, bottom + 2), fill=tone.value)
        return bottom + GAP

    def tag(self, text: str, x: int, y: int, tone: Tone) -> int:
        """White on a rounded ground."""
        font = _font(SMALL_SIZE)
        height = 28
        self._draw.rounded_rectangle((x, y, x + font.getlength(text) + 24, y + height), radius=14, fill=tone.value)
        self._draw.text((x + 12, y + height / 2), text, font=font, fill=PAPER, anchor="lm")
        return y + height

    def panel(self, x: int, y: int, width: int, height: int) -> None:
        self._draw.rounded_rectangle((x, y, x + width, y + height), radius=10, fill=PAPER, outline=EDGE, width=2)

    def picture(self, shown: Shown, x: int, y: int) -> None:
        """The picture in its place, with its box."""
        image = shown.image
        scale = PICTURE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        self._page.paste(image.resize(size, Image.Resampling.LANCZOS), (x, y))
        if shown.box is not None:
            x0, y0, x1, y1 = (round(edge * scale) for edge in pixels_of(shown.box))
            self._draw.rectangle((x + x0 - 2, y + y0 - 2, x + x1 + 1, y + y1 + 1), outline=RED_BOX, width=3)
        self._draw.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), outline=EDGE)

    def _words(self, words: Sequence[tuple[str, Tone]], x: int, y: int, width: int, size: int) -> int:
        """Words in lines no wider than `width`; one that is wider alone is cut to it."""
        font = _font(size)
        space = font.getlength(" ")
        step = round(size * LEADING)
        across = 0.0
        for whole, tone in words:
            word = _cut(whole, width, font)
            length = font.getlength(word)
            if across and across + length > width:
                across = 0.0
                y += step
            self._draw.text((x + across, y), word, font=font, fill=tone.value)
            across += length + space
        return y + step


def _cut(word: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    while len(word) > 1 and font.getlength(word) > width:
        word = word[: max(1, int(len(word) * width / font.getlength(word)) - 1)]
    return word


def _bare(word: str) -> str:
    return word.strip(".,;:!?\"'()").lower()


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which every installation has. Raises OSError for a Pillow without FreeType."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OSError("this Pillow has no FreeType: no text can be drawn on the contact sheet")
    return font
