"""`imgdiff`: the command line. Imports nothing heavy, so that help answers at once."""

import sys
from collections.abc import Mapping, Sequence

import click

from common.runtime.exits import ExitCode, exit_code_of
from ops.cli.lazy import LazyCommand, LazyGroup

INTERRUPTED = 130
"""What shells report for a command that Ctrl-C ended: 128 + SIGINT."""

CLOSED_PIPE = 141
"""What shells report for a command that wrote where nobody reads any more, as before `| head`: 128 + SIGPIPE."""

COMMANDS: Mapping[str, LazyCommand] = {
    "demo": LazyCommand("ops.cli.demo:demo", "Run the whole stream here on a few hundred captions."),
    "broker": LazyCommand("ops.cli.broker:broker", "A local Apache Kafka: start, stop, status."),
    "topics": LazyCommand("ops.cli.topics:topics", "Create the topics; show where they drifted from the settings."),
    "ingest": LazyCommand("ops.cli.ingest:ingest", "Read captions into the stream, exactly once."),
    "worker": LazyCommand("ops.cli.worker:worker", "Run one worker of a stage."),
    "up": LazyCommand("ops.cli.up:up", "Run all workers on this machine, restarted when they die."),
    "status": LazyCommand("ops.cli.status:status", "Show the funnel: what every worker made of its input."),
    "dead-letters": LazyCommand(
        "ops.cli.dead_letters:dead_letters", "What was rejected or failed, why, and sent again."
    ),
    "blobs": LazyCommand("ops.cli.blobs:blobs", "The store of pictures: remove what nobody needs any more."),
    "models": LazyCommand("ops.cli.models:models", "The models' weights: list, check, download."),
    "settings": LazyCommand("ops.cli.settings:settings", "Print the settings and where each came from."),
}


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="imgdiff", prog_name="imgdiff")
def imgdiff() -> None:
    """Image-difference instruction data as a stream: captions in, difference question-answers out, on Apache Kafka."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. A user's mistake is one line on standard error."""
    try:
        code = imgdiff.main(
            args=None if arguments is None else list(arguments), prog_name="imgdiff", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "imgdiff"
        return _end(f"{where}: {error.format_message()} (see {where} --help)", ExitCode.USAGE)
    except click.ClickException as error:
        return _end(f"imgdiff: {error.format_message()}", ExitCode.OTHER)
    except (click.Abort, SystemExit) as error:
        # In this mode click exits by itself only where a pipe is closed, and with what a failure ends with.
        return INTERRUPTED if isinstance(error, click.Abort) else CLOSED_PIPE
    except Exception as error:
        known = _exit_code(error)
        if known is None:
            raise
        return _end(f"imgdiff: {error}", known)
    return code if isinstance(code, int) else 0


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error that is no fault of this program; None for one that is, and deserves its traceback."""
    from common.kafka import KafkaError
    from common.runtime.errors import ConfigurationError, TransientError
    from common.runtime.exits import FencedError

    if isinstance(error, ConfigurationError | FencedError | TransientError | KafkaError):
        return exit_code_of(error)
    if isinstance(error, OSError) and error.filename is not None:
        # Of a path that was given, or below one.
        return ExitCode.OTHER
    return None


def _end(line: str, code: int) -> int:
    from common.secrets import SECRETS
    from common.terminal import escape

    sys.stderr.write(escape(" ".join(SECRETS.hidden_in(line).split())) + "\n")
    return code
