"""How the client reads a batch of the log."""

from functools import lru_cache
from typing import Any

from kafka.errors import CorruptRecordError
from kafka.record.default_records import ControlRecord, DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint


class _Headers(list[Any]):
    """The headers of one record in `pairs`. To the client it is an empty list: it would encode every name again, only to
    count bytes for metrics that are switched off."""

    __slots__ = ("pairs",)
    pairs: tuple[tuple[str, bytes], ...]


class Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of the log, read in a third of the client's own time, and with header names that may be any bytes.

    The client takes a name that is not UTF-8, as other clients write them, for a corrupt record, and then never gets past
    it. Here what is not ASCII in such a name becomes `?`; key, value and the headers' values stay as they are.
    """

    _buffer: Any
    _pos: int

    def __iter__(self) -> Any:
        records = super().__iter__()
        # A slice of bytes is a copy; that of a bytearray is one that has to be copied again to be bytes.
        self._buffer = bytes(self._buffer)
        return records

    def _read_msg(self) -> Any:
        buffer = self._buffer
        length, start = decode_varint(buffer, self._pos)
        _, position = decode_varint(buffer, start)  # attributes, of which there are none
        timestamp_delta, position = decode_varint(buffer, position)
        offset_delta, position = decode_varint(buffer, position)
        key, position = _nullable_bytes(buffer, position)
        value, position = _nullable_bytes(buffer, position)
        headers = _Headers()
        headers.pairs, position = _read_headers(buffer, position)
        if position - start != length:
            raise CorruptRecordError(f"a record of {length} bytes has fields of {position - start} bytes")
        self._pos = position
        timestamp_type = self.timestamp_type
        timestamp = self.max_timestamp if timestamp_type else self.first_timestamp + timestamp_delta
        kind = ControlRecord if self.is_control_batch else DefaultRecord
        return kind(length, self.base_offset + offset_delta, timestamp, timestamp_type, key, value, headers)


def _nullable_bytes(buffer: bytes, position: int) -> tuple[bytes | None, int]:
    size, position = decode_varint(buffer, position)
    if size < 0:
        return None, position
    return buffer[position : position + size], position + size


def _read_headers(buffer: bytes, position: int) -> tuple[tuple[tuple[str, bytes], ...], int]:
    """The headers that begin at `position` with their count, and where they end. A value that is null reads as empty.

    Most sizes take one byte, whose upper seven bits they are; calling a function for each would be half of the time.
    """
    count, position = decode_varint(buffer, position)
    if count < 0:
        raise CorruptRecordError(f"a record with {count} headers")
    pairs = []
    for _ in range(count):
        size = buffer[position]
        if size & 0x81:
            size, position = decode_varint(buffer, position)
            if size < 0:
                raise CorruptRecordError(f"a header's name of {size} bytes")
        else:
            size, position = size >> 1, position + 1
        end = position + size
        name = _header_name(buffer[position:end])
        size = buffer[end]
        if size & 0x81:
            size, position = decode_varint(buffer, end)
            size = max(0, size)
        else:
            size, position = size >> 1, end + 1
        end = position + size
        pairs.append((name, buffer[position:end]))
        position = end
    return tuple(pairs), position


@lru_cache(maxsize=1_024)
def _header_name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return bytes(byte if byte < 0x80 else ord("?") for byte in name).decode()
