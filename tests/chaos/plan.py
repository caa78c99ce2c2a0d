"""Which faults are tried, where, and in which order: the same for the same seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ops.demo.run import CAPTIONS
from tests.chaos.faults import KINDS, Family, Fault

CAPTIONS_PER_BATCH = 20


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a run: each stream has its own faults, one after the other; then the broker has one, if any is left."""

    lanes: Sequence[Sequence[Fault]]
    broker: Fault | None = None


def faults(seed: int, count: int) -> list[Fault]:
    """So many faults: all kinds at all their steps in random order, then all again in another."""
    chance = random.Random(seed)
    drawn: list[Fault] = []
    while len(drawn) < count:
        deck = [(kind, step) for kind in KINDS for step in kind.steps for _ in range(kind.weight)]
        chance.shuffle(deck)
        for kind, step in deck[: count - len(drawn)]:
            drawn.append(Fault(len(drawn), kind, chance.choice(kind.targets), step, chance.getrandbits(32)))
    return drawn


def all_once() -> int:
    """How many faults have every kind at every step."""
    return sum(len(kind.steps) * kind.weight for kind in KINDS)


def one_of_each_family(planned: Sequence[Fault]) -> list[Fault]:
    """The first of each, in the order of the plan."""
    chosen: dict[Family, Fault] = {}
    for fault in planned:
        chosen.setdefault(fault.kind.family, fault)
    return list(chosen.values())


def legs(planned: Sequence[Fault], streams: int) -> list[Leg]:
    """The same faults, shared out to streams. A fault's number says which stream it goes to, whatever else is planned."""
    found = []
    lanes: list[list[Fault]] = [[] for _ in range(streams)]
    for fault in planned:
        if fault.kind.family is Family.BROKER:
            found.append(Leg(lanes, fault))
            lanes = [[] for _ in range(streams)]
        else:
            lanes[fault.number % streams].append(fault)
    return [*found, Leg(lanes)]


def batch_of(fault: Fault, streams: int) -> str:
    """The name of the captions that are fed with a fault; a stream is never fed the same twice, streams share them."""
    of_all = fault.kind.family is Family.BROKER
    return f"broker-{fault.number}" if of_all else f"lane-{fault.number // streams}"


def captions(seed: int, batch: str) -> list[str]:
    """Those of one name: others in every batch, and in every plan."""
    texts = [text for text in CAPTIONS.read_text().splitlines() if text]
    return random.Random(f"{seed} {batch}").sample(texts, CAPTIONS_PER_BATCH)
