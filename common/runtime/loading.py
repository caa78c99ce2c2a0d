"""The prefetch: from bytes in the log to a task with its pictures."""

from collections.abc import Callable

from common.blobs import Blobs
from common.runtime.flight import Fetched, Loaded
from common.runtime.retry import Retry
from common.runtime.stage import Task
from schemas import codec, headers
from schemas.invalid import InvalidRecord
from schemas.record import Record


class Loader:
    """Decodes records of one kind and fetches their pictures. Used by several threads."""

    def __init__(self, kind: type[Record], blobs: Blobs, retry: Retry, *, decode_images: bool) -> None:
        self._kind = kind
        self._blobs = blobs
        self._retry = retry
        self._decode_images = decode_images

    def load(self, fetched: Fetched, wanted: Callable[[], bool]) -> Loaded:
        """Raises NotWantedError when the store is unreachable and the record's partition goes elsewhere."""
        record = fetched.record
        try:
            decoded = codec.decode(self._kind, record.value, headers.text_header(record.headers, headers.SCHEMA))
            pictures = {
                name: self._retry.run(
                    "fetch images",
                    lambda: self._blobs.picture(reference, decode=self._decode_images),
                    wanted,
                )
                for name, reference in decoded.images().items()
            }
        except InvalidRecord as invalid:
            return Loaded(fetched, invalid)
        return Loaded(fetched, Task(decoded, pictures))
