"""Log lines on standard error: time, level, who, what."""

import logging
import os
import sys
from textwrap import indent
from typing import Any

from common.secrets import SECRETS
from common.terminal import escape


def configure_logging(name: str) -> None:
    """Set up logging for one process; `name` stands on every line. Call it before the model libraries are imported."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter(f"%(asctime)s %(levelname)-7s {name}: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # The client tells of every reconnect and of expected retries; what matters of it reaches us as an exception.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    # The client of model endpoints has a line for every request.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    # Progress bars of the model libraries, which tear up every log that is not a terminal. tqdm reads it while imported.
    os.environ["TQDM_DISABLE"] = "1"


class _SafeFormatter(logging.Formatter):
    """A message is one line, whatever is in it: nobody forges another line or steers a terminal by a record, a name or a
    model's text. A traceback keeps its lines. Neither has secrets."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return escape(SECRETS.hidden_in(super().formatMessage(record)), keep="\t")

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _block(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _block(super().formatStack(stack_info))


def _block(text: str) -> str:
    """Moved in, so that no line of it can be taken for a log line: the message of an error may have lines as well."""
    return indent(escape(SECRETS.hidden_in(text), keep="\t\n"), "  ")


def adopt_loggers(*names: str) -> None:
    """Let the lines of libraries that print them themselves go where all others go, and look like them."""
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
