"""`make chaos`, which is `python -m tests.chaos`."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tests.chaos import plan, report
from tests.chaos.faults import KINDS
from tests.chaos.harness import Harness, say

FOLDER = Path(".imgdiff/chaos")


@click.command()
@click.option("--seed", default=1, show_default=True, help="The plan: which faults, where, in which order.")
@click.option("--faults", "count", default=240, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--streams", default=3, show_default=True, type=click.IntRange(1, 16), help="Streams side by side.")
@click.option(
    "--only", "names", multiple=True, metavar="KIND", type=click.Choice([kind.name for kind in KINDS]),
    help="Of the plan, only the faults of this kind; may be given again.",
)  # fmt: skip
@click.option("--fault", "number", type=click.IntRange(min=0), help="Of the plan, only the fault of this number.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True,
    help="Where everything lies. Emptied at the start; after a run without findings only the report stays.",
)  # fmt: skip
@click.option("--write-page", is_flag=True, help="Write what was found into docs/chaos.md.")
def chaos(
    *, seed: int, count: int, streams: int, names: Sequence[str], number: int | None, folder: Path, write_page: bool
) -> None:
    """Try faults on running streams, and see whether anything is lost or doubled.

    Exit code 1 where anything is; the folder then says what.
    """
    for name in [name for name in os.environ if name.startswith("IMGDIFF_")]:
        del os.environ[name]  # a developer's own settings must not change what is tried
    planned = [
        fault
        for fault in plan.faults(seed, count)
        if (not names or fault.kind.name in names) and number in {None, fault.number}
    ]
    folder = folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = f'make chaos ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else "make chaos"
    run = report.Run.of(command, streams, Harness(seed, planned, streams, folder).run)
    found = report.results(run)
    (folder / "report.md").write_text(found)
    if write_page:
        report.PAGE.write_text(report.page(found))
    say(report.summary(run))
    if run.findings:
        say(f"what is wrong: {folder / 'failures'}")
        sys.exit(1)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


if __name__ == "__main__":
    chaos()
