"""Good things made bad: bytes flipped, cut and spliced, values swapped for others, and whatever nobody thought of.

Everything comes from one seeded source of chance, so a failure names a seed that brings it back.
"""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

EXTREME_TEXTS = (
    "", " ", "\x00", "\x1b[2J", "\u202e", "\ud7ff", "../" * 40, "/", "a" * 5_000, "0", "-1", "1e999", "NaN", "none",
    "null", "[", "{", "%s%n", "{0.__class__}", "$(id)", "'; drop", "\r\n", "é" * 200, "9" * 400,
)  # fmt: skip
EXTREME_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 2**64 - 1, 1.5, 1e308, float("inf"), float("-inf"), float("nan"))

JUNK = (b"", b"\x00", b"\xff" * 9, b"\xc1", b"PAR1", b"\x89PNG\r\n\x1a\n", b"{", b"[" * 3_000, b"\x91" * 3_000, b"null")


def broken_bytes(random: Random, good: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Between one and three changes: bits, cuts, pieces doubled, swapped, or taken from `others`; sometimes plain junk."""
    data = bytearray(good)
    for _ in range(random.randint(1, 3)):
        random.choice(_BYTE_CHANGES)(random, data, [*others, *JUNK])
    return bytes(data)


def broken_text(random: Random, good: str, others: Sequence[str] = ()) -> str:
    """The same for text; what is not UTF-8 any more becomes a replacement character."""
    return broken_bytes(random, good.encode(), [other.encode() for other in others]).decode(errors="replace")


def broken_value(random: Random, good: Any) -> Any:
    """A copy of nested lists and maps in which between one and three places have become something else."""
    value = copy.deepcopy(good)
    for _ in range(random.randint(1, 3)):
        places = _places(value)
        if not places:
            return extreme(random)
        container, key = random.choice(places)
        match random.randrange(5):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, dict):
                container[random.choice(EXTREME_TEXTS)] = container[key]
            case 2:
                other, other_key = random.choice(places)
                container[key] = copy.deepcopy(other[other_key])
            case _:
                container[key] = extreme(random)
    return value


def extreme(random: Random) -> Any:
    """A value that hardly anything expects."""
    match random.randrange(7):
        case 0:
            return random.choice(EXTREME_NUMBERS)
        case 1:
            return nested(random.choice((3, 40, 200)))
        case 2:
            return [random.choice(EXTREME_TEXTS)] * random.choice((0, 1, 300))
        case 3:
            return dict.fromkeys(random.sample(EXTREME_TEXTS, 5), 1)
        case 4:
            return random.choice((None, True, False))
        case _:
            return random.choice(EXTREME_TEXTS)


def nested(depth: int) -> Any:
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def as_json(value: Any) -> str:
    """Python's JSON, in which infinity and NaN are written out."""
    return json.dumps(value)


def _places(value: Any) -> "list[tuple[Any, Any]]":
    """Every place in nested lists and maps: its container, and its key there."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
        found += [(inner, key) for key in keys]
        waiting += [inner[key] for key in keys]
    return found


def _flip(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _replace(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xC1, 0xDD, 0xFF, random.randrange(256)))


def _cut(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[random.randint(0, len(data)) :]


def _remove(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = random.randint(0, len(data))
    del data[start : start + random.randint(1, 16)]


def _double(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = random.randint(0, len(data))
    data[start:start] = data[start : start + random.randint(1, 64)]


def _splice(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    other = random.choice(others)
    at, start = random.randint(0, len(data)), random.randint(0, len(other))
    data[at : at + random.randint(0, 32)] = other[start:]


def _insert(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    data[at:at] = random.randbytes(random.choice((1, 4, 64)))


_BYTE_CHANGES: Sequence[Callable[[Random, bytearray, Sequence[bytes]], None]] = (
    _flip, _flip, _replace, _replace, _cut, _remove, _double, _splice, _insert,
)  # fmt: skip
