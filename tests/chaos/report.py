"""docs/chaos.md: what is tried and how it is judged, made from the table of kinds; and what the last full run found.

`python -m tests.chaos.report` writes the first part again, and leaves the results as they are.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

from ops.broker.jars import KAFKA_VERSION
from ops.docs.markdown import code, table
from tests.chaos.faults import KINDS, Kind
from tests.chaos.harness import Trial
from tests.chaos.outcomes import Finding, Wrong
from tests.chaos.plan import CAPTIONS_PER_BATCH
from tests.chaos.stream import BATCH_RECORDS, PARTITIONS

PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
RESULTS = "## The last full run"
"""Where the generated part ends and what a run found begins."""

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Run:
    """A run with its trials."""

    command: str
    streams: int
    minutes: float
    trials: Sequence[Trial]

    @classmethod
    def of(cls, command: str, streams: int, run: Callable[[], list[Trial]]) -> "Run":
        began = time.monotonic()
        trials = run()
        return cls(command, streams, (time.monotonic() - began) / 60, trials)

    @property
    def findings(self) -> list[Finding]:
        return [finding for trial in self.trials for finding in trial.findings]

    @property
    def struck(self) -> list[Trial]:
        """Trials in which a fault struck and the stream recovered."""
        return [trial for trial in self.trials if trial.fault is not None and trial.recovered_s is not None]

    @property
    def tried(self) -> int:
        """Faults that struck; one of the broker counts once, however many streams it hit."""
        return len({trial.fault.number for trial in self.struck if trial.fault is not None})

    @property
    def missed(self) -> int:
        """Faults that had no occasion to strike, such as a second passing of a step that was passed once."""
        numbers = {
            t.fault.number for t in self.trials if t.fault is not None and t.recovered_s is None and not t.findings
        }
        return len(numbers)

    def count(self, wrong: Wrong) -> int:
        return sum(finding.wrong is wrong for finding in self.findings)

    def of_kind(self, kind: Kind) -> list[Trial]:
        return [trial for trial in self.struck if trial.fault is not None and trial.fault.kind is kind]

    @property
    def undisturbed_s(self) -> list[float]:
        """What streams took for a round in which nothing was done to them."""
        return [t.recovered_s for t in self.trials if t.fault is None and t.recovered_s is not None]


def fixed() -> str:
    """The part of the page that no run changes."""
    return f"""# Chaos: nothing lost, nothing twice, under faults

<!-- Written by `make docs` from the tables in tests/chaos/, and below by `make chaos`. Change these, not this page. -->

`make chaos` runs the real stream on the local broker, several streams side by side: ingest watching a folder, the six workers
on the profile `sketch`, each a process of its own that is started again when it dies, {PARTITIONS} partitions, batches of
{BATCH_RECORDS} records, a session of 10 s, a transaction time-out of 5 s. A stream is fed {CAPTIONS_PER_BATCH} captions, a
fault is injected while they are on their way, the stream is left to settle, and all of it is checked. Then comes the next
fault, in the same stream. Faults of the broker hit all streams at once, and count once.

`make test` has one fault of each family; the rest runs here.

## How to run it

```
make chaos                                        # everything, about 40 minutes
make chaos ARGS="--seed 7"                        # another plan: other targets, moments and captions
make chaos ARGS="--seed 7 --only broker_killed"   # of this plan, one kind
make chaos ARGS="--seed 7 --fault 37"             # of this plan, one fault
```

What is tried comes from the seed alone: a fault has the same target, step, captions and lengths of time whatever else runs.
Which record is in flight when it strikes depends on the machine. The exit code is 1 where anything is wrong. A failure names
its seed, fault and stream, and how to try it again; logs, store, dataset and topics stay in `.imgdiff/chaos/`, what is wrong
stands in `.imgdiff/chaos/failures/`.

## What is checked after every fault

- **Nothing lost**: every caption arrived, and every input of every stage has its whole outcome: all records that it became,
  or one dead letter.
- **Nothing doubled**: no input has a second outcome, no record id and no row of the dataset stands twice.
- **Nothing dangling**: every picture that a record refers to is in the store, and has the SHA-256 that the reference says.
- **The counters are right**: those in the metadata of the committed offsets equal a recount of the topics.
- **The same as undisturbed**: outcomes, record ids, pictures and dataset rows equal those of a stream that went through the
  same captions with nothing done to it. Where a fault is meant to take a record out, it is in `<worker>.failed` with the
  reason of that fault, and nothing else differs.
- **Nobody was helped**: no process had to be ended by hand; each one left within a minute of SIGTERM.

The time to recover goes from the end of a fault (from the strike, where a process ended or a call failed) until the stream has
settled: everything that was fed has its outcome in every stage and its row in the dataset. It contains the work itself; what
that takes undisturbed stands above the table.

## The kinds

{_kinds()}

How they come about: signals strike when a process passes a step (`IMGDIFF_FAULT=@FILE`, see `common/runtime/faults.py`);
all connections lead through a TCP proxy (`tests/chaos/proxy.py`); stages are the real ones behind a wrapper that raises,
hangs or kills at a call (`tests/chaos/worker.py`); for the store, folders are moved and their permissions taken, and the
system refuses writes.
"""


def _kinds() -> str:
    rows = []
    for family, kinds in groupby(KINDS, lambda kind: kind.family):
        for kind in kinds:
            steps = ", ".join(code(step) for step in kind.steps if step)
            rows.append([str(family), code(kind.name), kind.meaning, ", ".join(filter(None, kind.targets)), steps])
    return table(["family", "kind", "what happens", "to one of", "steps"], rows)


def results(run: Run) -> str:
    """What a run found."""
    rows = []
    for kind in KINDS:
        trials = run.of_kind(kind)
        if trials:
            times = [trial.recovered_s for trial in trials if trial.recovered_s is not None]
            tried = len({trial.fault.number for trial in trials if trial.fault is not None})
            rows.append([code(kind.name), str(tried), f"{median(times):.1f}", f"{max(times):.1f}"])
    undisturbed = f"{median(run.undisturbed_s):.1f} s" if run.undisturbed_s else "not measured"
    return "\n\n".join(
        [
            RESULTS,
            f"`{run.command}`, on {_machine()}: **{summary(run)}.**",
            f"{run.missed} more had no occasion to strike, and are not counted. Without a fault, {CAPTIONS_PER_BATCH} captions "
            f"take {undisturbed} (median of {run.streams} streams).",
            table(["kind", "tried", "time to recover, median (s)", "maximum (s)"], rows),
        ]
    )


def page(found: str) -> str:
    """The whole page, with what a run found."""
    return f"{fixed()}\n{found}\n"


def renewed(old: str) -> str:
    """A page with the fixed part as it should be now, and the results that it had."""
    _, _, found = old.partition(RESULTS)
    return page(RESULTS + found.rstrip("\n"))


def summary(run: Run) -> str:
    """A line for the end of a run."""
    wrong = ", ".join(f"{run.count(kind)} {kind}" for kind in Wrong)
    return f"{run.tried} faults in {run.minutes:.0f} minutes: {wrong}"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return (
        f"{len(os.sched_getaffinity(0))} cores and {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, Apache Kafka {KAFKA_VERSION}"
    )


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
