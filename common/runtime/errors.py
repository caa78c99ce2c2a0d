"""Errors that decide what the runtime does next. What is not listed here is the record's or the stage's fault."""


class TransientError(Exception):
    """Something outside is unreachable (object store, model endpoint: time-out, 429, 5xx). Retried in place."""


class OutOfMemoryError(Exception):
    """The device has no memory left for this batch. The batch is halved."""


class DeviceLostError(Exception):
    """The accelerator is in an undefined state (illegal access, device lost). The process exits 70 without commit."""


class ConfigurationError(Exception):
    """A setting, a credential or the environment is wrong; the message names it. The process exits 78."""


class BrokerUnreachableError(ConfigurationError):
    """Nobody listens where the broker should be: it may come back, unlike a setting that is wrong."""
