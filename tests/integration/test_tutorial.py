"""The tutorial in docs/: its commands run as they stand there, in one shell on a terminal, and say what the page says.

What differs from run to run (times, process numbers, offsets, digests, ids of jobs) counts as the same; a line `...` on
the page stands for any lines, and one inside a line for any text.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import JARS, stopped_at_the_end
from tests.integration.kit import ROOT

PAGE = ROOT / "docs" / "a-sample-went-missing.md"
WIDTH = 124
"""Columns of the terminal: those of the page's tables."""
PATIENCE_S = 120.0
REPEAT = "<!-- repeat -->"

_BLOCK = re.compile(
    rf"^(?P<repeat>{REPEAT}\n)?```sh\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_VARYING = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ": "TIME",
    r"127\.0\.0\.1:\d+": "ADDRESS",
    r"process \d+": "process N",
    r"(tutorial\.[a-z.-]+/\d+)/\d+": r"\1/OFFSET",
    r"settings [0-9a-f]{12}": "settings DIGEST",
    r"\(job [0-9a-f]{8}\)": "(job ID)",
    r"\d+ records in \d+\.\d{3} s": "N records in N s",
}
_EXPORT = re.compile(r"^for other commands: (export IMGDIFF_KAFKA__BOOTSTRAP_SERVERS=\S+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Commands that are typed together, and what the page says that they print; `repeat` until they do."""

    commands: str
    output: str
    repeat: bool


def blocks() -> list[Block]:
    found = _BLOCK.finditer(PAGE.read_text())
    return [Block(each["commands"], each["output"] or "", each["repeat"] is not None) for each in found]


class Shell:
    """A bash whose output goes to a terminal, as people have one, and whose errors to a file: progress is not drawn.

    It ends when a command fails.
    """

    def __init__(self, folder: Path, errors: Path) -> None:
        self._errors = errors
        self._screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        attributes = termios.tcgetattr(terminal)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
        environ = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-e"], cwd=folder, env=environ | {"TERM": "xterm"},
                stdin=subprocess.PIPE, stdout=terminal, stderr=file, start_new_session=True,
            )  # fmt: skip
        os.close(terminal)
        self._said = bytearray()
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self, commands: str) -> str:
        """What they print. Fails the test when one of them does."""
        mark = f"<{time.monotonic_ns()}>"
        assert self.process.stdin is not None
        self.process.stdin.write(f"{commands}echo '{mark}'\n".encode())
        self.process.stdin.flush()
        with self._news:
            self._news.wait_for(lambda: mark.encode() in self._said or self._ended(), PATIENCE_S)
            said = _STEERING.sub("", self._said.decode())
            self._said.clear()
        assert mark in said, f"{commands}\n{said}\n{self._errors.read_text()}\nexit code {self.process.poll()}"
        return said.partition(mark)[0]

    def end(self) -> None:
        """Also what it left running in the background, where the page was not read to its end."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def _listen(self) -> None:
        while True:
            try:
                news = os.read(self._screen, 65_536)
            except OSError:
                news = b""
            with self._news:
                self._said += news
                self._news.notify_all()
            if not news:
                return


def matches(said: str, page: str) -> bool:
    """Whether the output is what the page shows."""
    lines = "".join(
        "(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n"
        for line in _plain(page).splitlines()
    )
    return re.fullmatch(lines, _plain(said)) is not None


def _plain(text: str) -> str:
    for varying, name in _VARYING.items():
        text = re.sub(varying, name, text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A folder with what `make demo` leaves in a checkout. Its broker is stopped in the end, whatever happens."""
    (tmp_path / ".imgdiff").mkdir()
    (tmp_path / ".imgdiff" / "jars").symlink_to(JARS.resolve())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    with stopped_at_the_end(tmp_path / ".imgdiff" / "tutorial"):
        yield tmp_path


@pytest.mark.long
def test_every_command_does_what_the_page_says(checkout: Path) -> None:
    errors = checkout / "errors.txt"
    shell = Shell(checkout, errors)
    try:
        for block in blocks():
            deadline = time.monotonic() + PATIENCE_S
            said = shell.run(block.commands)
            if moved := _EXPORT.search(said):
                shell.run(f"{moved[1]}\n")
                said = _EXPORT.sub("", said)
            while block.repeat and not matches(said, block.output) and time.monotonic() < deadline:
                time.sleep(1)
                said = shell.run(block.commands)
            assert matches(said, block.output), f"{block.commands}\nprinted\n{said}\ninstead of\n{block.output}"
    finally:
        shell.end()
    assert errors.read_text() == ""
    assert not (checkout / ".imgdiff" / "tutorial").exists()


def test_the_page_is_read_whole() -> None:
    assert len(blocks()) == PAGE.read_text().count("```sh\n") > 10
    assert sum(block.output != "" for block in blocks()) == PAGE.read_text().count("```text\n")


@pytest.mark.parametrize(
    ("said", "page", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\nc\n", "a\n...\n", True),
        ("a\n", "a\n...\n", True),
        (" \na \n  \n", "a\n", True),
        ("a\nb\n", "a\n", False),
        ("one two three\n", "one ... three\n", True),
        ("ended 2026-11-21 17:26:32Z\n", "ended 2001-01-01 00:00:00Z\n", True),
        ("7 sent again (job 0123abcd)\n", "7 sent again (job 89ef4567)\n", True),
        ("7 sent again (job 0123abcd)\n", "8 sent again (job 0123abcd)\n", False),
    ],
)
def test_what_counts_as_the_same(said: str, page: str, same: bool) -> None:
    assert matches(said, page) is same
