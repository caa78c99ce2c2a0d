"""Lines of bytes from chunks of bytes, in bounded memory however long a line is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ops.ingest.items import MAX_ORIGINAL_BYTES

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end. `data` is cut at MAX_ORIGINAL_BYTES, `length` is the line's whole length in bytes."""

    data: bytes
    length: int

    @property
    def cut(self) -> bool:
        return self.length > len(self.data)


def split_lines(chunks: Iterable[bytes | None]) -> Iterator[Line | None]:
    """The lines; the last one needs no end. A None among the chunks (nothing has come for a while) is passed on."""
    begun = bytearray()
    length = 0
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            if length:
                begun += part[: MAX_ORIGINAL_BYTES - len(begun)]
                yield Line(bytes(begun), length + len(part))
                begun.clear()
                length = 0
            else:
                yield Line(part[:MAX_ORIGINAL_BYTES], len(part))
        begun += rest[: MAX_ORIGINAL_BYTES - len(begun)]
        length += len(rest)
    if length:
        yield Line(bytes(begun), length)
