"""Two workers of which there are two releases: one with `edits/1`, one with `edits/2`. As a module it runs one of them.

The second release is made as a developer makes one: the record type with its new version and the upcast from the one
before. `EVOLUTION_ROLE` is `writer` (captions to edits) or `reader` (edits to pairs), `EVOLUTION_RELEASE` 1 or 2.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import ClassVar

from PIL import Image

from common.runtime.main import worker_main
from common.runtime.spec import WorkerSpec
from common.runtime.stage import Emit, Reject, Task
from common.settings import CommonSettings, StageSettings
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.images import NewImage
from schemas.pairs import Pair
from schemas.record import Fields, Record, Text, Upcast
from schemas.topics import EDITS, PAIRS
from schemas.trail import ModelId

BEFORE = "unknown"
"""What the new field says of records from before there was such a field."""


def _rewritten(fields: Fields) -> Fields:
    rest = {name: value for name, value in fields.items() if name != "edited_caption"}
    return {**rest, "rewritten": fields["edited_caption"], "language": BEFORE}


class EditTwo(Record):
    """Version 2: `edited_caption` is called `rewritten`, and `language` is new."""

    topic: ClassVar[str] = "edits"
    version: ClassVar[int] = 2
    upcasts: ClassVar[Mapping[int, Upcast]] = {1: _rewritten}

    caption: Text
    rewritten: Text
    language: Text


class NoReason(StrEnum):
    NONE = "none"


class Writer:
    """Captions to edits, of one release."""

    models: Sequence[ModelId] = ()

    def __init__(self, kind: type[Edit] | type[EditTwo]) -> None:
        self._kind = kind

    def process(self, batch: Sequence[Task[Caption]]) -> Sequence[Emit[Record] | Reject]:
        return [Emit([self._edit(task.record)]) for task in batch]

    def _edit(self, caption: Caption) -> Record:
        text = f"{caption.caption}, rewritten"
        if self._kind is EditTwo:
            return caption.derive(EditTwo, 0, rewritten=text, language="en")
        return caption.derive(Edit, 0, edited_caption=text)


class Reader:
    """Edits to pairs, of one release. The new field goes where a test can see it: behind the caption."""

    models: Sequence[ModelId] = ()

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    def process(self, batch: Sequence[Task[Edit | EditTwo]]) -> Sequence[Emit[Pair] | Reject]:
        time.sleep(self._delay_s)
        return [self._pair(task.record) for task in batch]

    def _pair(self, edit: Edit | EditTwo) -> Emit[Pair]:
        text = f"{edit.rewritten} ({edit.language})" if isinstance(edit, EditTwo) else edit.edited_caption
        drawn = {"first": NewImage.named("first"), "second": NewImage.named("second")}
        pair = edit.derive(Pair, 0, edited_caption=text, **drawn)
        return Emit([pair], images={name: Image.new("RGB", (8, 8)) for name in drawn})


def worker(role: str, release: int) -> WorkerSpec[StageSettings]:
    kind = EditTwo if release == 2 else Edit

    def write(settings: StageSettings, common: CommonSettings) -> Writer:
        return Writer(kind)

    def read(settings: StageSettings, common: CommonSettings) -> Reader:
        return Reader(common.sketch.delay_s)

    if role == "writer":
        return WorkerSpec(route=EDITS, reads=Caption, settings=StageSettings, reasons=NoReason, build=write)
    return WorkerSpec(route=PAIRS, reads=kind, settings=StageSettings, reasons=NoReason, build=read)


if __name__ == "__main__":
    sys.exit(worker_main(worker(os.environ["EVOLUTION_ROLE"], int(os.environ["EVOLUTION_RELEASE"]))))
