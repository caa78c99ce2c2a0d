"""How a process ends. Whoever supervises it decides by the exit code what to do."""

from enum import IntEnum

from common.runtime.errors import BrokerUnreachableError, ConfigurationError, DeviceLostError, translated


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    OTHER = 1
    USAGE = 64
    DEVICE = 70
    FENCED = 75
    CONFIGURATION = 78


class FencedError(Exception):
    """Another process has taken this one's transactional id or group membership, or a transaction timed out.

    Never answered by building a new producer: two twins would fence each other for ever. The process exits 75.
    """


def exit_code_of(error: BaseException) -> ExitCode:
    """How a process ends that this error has stopped."""
    match translated(error) if isinstance(error, Exception) else error:
        case BrokerUnreachableError():
            return ExitCode.OTHER
        case ConfigurationError():
            return ExitCode.CONFIGURATION
        case FencedError():
            return ExitCode.FENCED
        case DeviceLostError():
            return ExitCode.DEVICE
        case _:
            return ExitCode.OTHER
