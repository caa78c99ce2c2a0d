"""What a source has beyond what was read of it before."""

import sqlite3
from collections.abc import Iterator

from ops.ingest.items import AnyItem, BadItem, Blank, ItemReason
from ops.ingest.readers import Reader


class GivenIds:
    """A set of ids in bounded memory: it spills to a private temporary file, which vanishes with it."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE given (id TEXT PRIMARY KEY) WITHOUT ROWID;"
            "BEGIN"
        )

    def add(self, given_id: str) -> bool:
        """Whether the id is new."""
        return self._database.execute("INSERT OR IGNORE INTO given VALUES (?)", (given_id,)).rowcount == 1

    def close(self) -> None:
        self._database.close()


class FreshItems:
    """The items of a reader from position `start` up to `limit`, ids that were given before found out.

    A repeated id would give two captions the same record ids all the way down the stream, so the second one is a bad
    item. None stands where there is nothing new for the moment: the source is silent, or what is known or blank is passed
    over.
    """

    def __init__(self, reader: Reader, start: int, limit: int | None, *, count_all: bool) -> None:
        """`count_all` reads what is passed over too, so that `seen` can tell a source that has become shorter."""
        self._reader = reader
        self._start = start
        self._limit = limit
        self._first = 0 if count_all or reader.gives_ids else start
        self.seen = self._first
        """The position after the last one that was looked at."""
        self.ended = False
        """Whether the source has been read to its end."""

    def __iter__(self) -> Iterator[AnyItem | None]:
        given = GivenIds()
        try:
            for item in self._reader.items(self._first):
                if item is None:
                    yield None
                    continue
                if self._limit is not None and item.position >= self._limit:
                    return
                self.seen = item.position + 1
                checked = None if isinstance(item, Blank) else self._checked(item, given)
                yield checked if item.position >= self._start else None
            self.ended = True
        finally:
            given.close()

    def _checked(self, item: AnyItem, given: GivenIds) -> AnyItem:
        if isinstance(item, BadItem) or item.given_id is None or given.add(item.given_id):
            return item
        detail = f"the id {item.given_id!r} was given before in this source, expected one id per caption"
        return BadItem(item.position, item.original, ItemReason.DUPLICATE_ID, detail, item.given_id)
