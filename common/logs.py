"""Log lines on standard error: time, level, who, what."""

import logging
import sys


def configure_logging(name: str) -> None:
    """Set up logging for one process; `name` stands on every line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {name}: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # The client tells of every reconnect and of expected retries; what matters of it reaches us as an exception.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    # The client of model endpoints has a line for every request.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
