"""When a broker that is away is given up."""

from common.runtime.errors import BrokerUnreachableError
from common.settings import RuntimeSettings


def patience_spent(settings: RuntimeSettings, error: Exception) -> BrokerUnreachableError:
    """What to raise once a broker has been away for as long as it may be."""
    return BrokerUnreachableError(
        f"the broker was away for longer than `runtime.broker_patience_s` ({settings.broker_patience_s:.0f} s): "
        f"{type(error).__name__}: {error}"
    )
