"""The prefetch: from bytes in the log to a task with its pictures."""

import threading
from collections.abc import Callable
from weakref import WeakValueDictionary

from common.blobs import Blobs
from common.runtime.errors import ConfigurationError
from common.runtime.execution import error_info
from common.runtime.flight import Failed, Fetched, Loaded
from common.runtime.memory import when_there_is_memory
from common.runtime.retry import NotWantedError, Retry
from common.runtime.stage import Picture, Task
from schemas import codec, headers
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.images import ImageRef
from schemas.invalid import InvalidRecord
from schemas.record import Record

LOCKS = 64

_NOT_THE_RECORDS_FAULT = (NotWantedError, ConfigurationError, MemoryError)


class SharedPictures:
    """The pictures of the records in this process, each fetched and decoded once for all records that refer to it: the
    boxes of a pair follow each other. A picture lives as long as a record that has it."""

    def __init__(self, blobs: Blobs, *, decode: bool) -> None:
        self._blobs = blobs
        self._decode = decode
        self._alive: WeakValueDictionary[ImageRef, Picture] = WeakValueDictionary()
        # One lock for all would let a slow read hold up every other picture.
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def get(self, reference: ImageRef) -> Picture:
        """Raises what `Blobs.picture` raises."""
        with self._locks[hash(reference) % LOCKS]:
            picture = self._alive.get(reference)
            if picture is None:
                picture = self._alive[reference] = self._blobs.picture(reference, decode=self._decode)
            return picture


class Loader:
    """Decodes records of one kind and fetches their pictures. Used by several threads."""

    def __init__(self, kind: type[Record], blobs: Blobs, retry: Retry, *, decode_images: bool) -> None:
        self._kind = kind
        self._pictures = SharedPictures(blobs, decode=decode_images)
        self._retry = retry

    def load(self, fetched: Fetched, wanted: Callable[[], bool]) -> Loaded:
        """Whatever else goes wrong than what is raised is the record's, so that none can keep the worker from going on.

        Raises NotWantedError when the store is unreachable, or memory short, and the record's partition goes elsewhere,
        ConfigurationError when the store refuses us, and MemoryError when it stays short.
        """
        return when_there_is_memory(
            self._retry, "load a record", fetched.record.place, lambda: self._load(fetched, wanted), wanted
        )

    def _load(self, fetched: Fetched, wanted: Callable[[], bool]) -> Loaded:
        record = fetched.record
        try:
            decoded = codec.decode(self._kind, record.value, headers.text_header(record.headers, headers.SCHEMA))
            pictures = {
                name: self._retry.run("fetch images", lambda: self._pictures.get(reference), wanted)
                for name, reference in decoded.images().items()
            }
        except InvalidRecord as invalid:
            return Loaded(fetched, invalid)
        except _NOT_THE_RECORDS_FAULT:
            raise
        except Exception as error:
            return Loaded(fetched, Failed(DeadLetterKind.POISON, PoisonReason.EXCEPTION, error=error_info(error)))
        return Loaded(fetched, Task(decoded, pictures))
