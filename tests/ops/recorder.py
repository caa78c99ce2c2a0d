"""A report that keeps what it is told."""


class Recorder:
    """Implements ops.broker.report.Report."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress: list[tuple[int, int]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def downloaded(self, done: int, total: int) -> None:
        self.progress.append((done, total))
