"""Errors that decide what the runtime does next. What is not listed here is the record's or the stage's fault."""


class TransientError(Exception):
    """Something is not available now (memory, or outside: object store, model endpoint: time-out, 429, 5xx). Retried in place.

    `retry_after_s` is how many seconds it asks to be left alone, 0 where it does not say.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutOfMemoryError(Exception):
    """The device has no memory left for this batch. The batch is halved."""


class DeviceLostError(Exception):
    """The accelerator is in an undefined state (illegal access, device lost), or has no room any more for what this process
    was set up for. The process exits 70 without commit."""


class ConfigurationError(Exception):
    """A setting, a credential or the environment is wrong; the message names it. The process exits 78."""


class BrokerUnreachableError(ConfigurationError):
    """Nobody listens where the broker should be: it may come back, unlike a setting that is wrong."""


_NO_ROOM = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
"""How CUDA's libraries, and what does not go through torch's allocator, say that there is no memory left."""


def translated(error: Exception) -> Exception:
    """A model library's own errors as those that the runtime acts on, known by their names: no library is imported."""
    if isinstance(error, MemoryError):
        return OutOfMemoryError(str(error) or "host memory")
    name = type(error).__name__ if type(error).__module__.partition(".")[0] == "torch" else ""
    if name == "OutOfMemoryError" or (isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_ROOM)):
        return OutOfMemoryError(str(error))
    return DeviceLostError(str(error)) if name == "AcceleratorError" else error
