"""`imgdiff demo`: the whole stream on this machine, with nothing but this package."""

import shutil
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ops.cli.options import SettingsOptions, json_option, settings_options

if TYPE_CHECKING:
    from ops.demo.home import DemoHome
    from ops.demo.run import DemoResult


@click.command()
@click.option(
    "--captions",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    help="Captions of your own: text, JSON lines, COCO JSON or Parquet.  [default: 252 that come with it]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N captions.")
@json_option
@settings_options
def demo(settings: SettingsOptions, *, captions: Path | None, limit: int | None, as_json: bool) -> int:
    """Run the whole stream here: start Kafka, run all workers as separate processes, feed captions, wait until every one
    has its outcome, stop everything, and print the funnel.

    It works in .imgdiff/demo, emptied at each run. With a Kafka cluster named in the settings
    (IMGDIFF_KAFKA__BOOTSTRAP_SERVERS) it uses that one, under a prefix of its own, and deletes nothing there.

    The pictures are drawn pictograms (profile `sketch`): no model, no GPU. Ends with 0 only if every input is accounted
    for and nothing failed; rejections are no failures.
    """
    from ops.cli.output import print_json
    from ops.demo.home import DemoHome
    from ops.demo.interrupt import Interrupt
    from ops.demo.run import CAPTIONS, DemoError, run_demo
    from ops.ingest.readers import WrongFileError
    from ops.transactions import InterruptedRunError

    home = DemoHome.under()
    try:
        with Interrupt() as interrupt:
            result = run_demo(settings, home, interrupt, captions=captions or CAPTIONS, limit=limit)
    except (DemoError, InterruptedRunError, WrongFileError) as error:
        raise click.ClickException(f"{error}; see {home.log}") from error
    if as_json:
        print_json(result.status.to_json())
    _print(result, home, sys.stderr if as_json else sys.stdout)
    return 1 if result.problems else 0


def _print(result: "DemoResult", home: "DemoHome", stream: IO[str]) -> None:
    from ops.cli.output import console, table_of
    from ops.demo.sheet import SKETCH
    from ops.funnel import FINISHED, headings, rows

    def say(line: str = "") -> None:
        click.echo(line, file=stream)

    status = result.status
    say()
    say(f"{status.ingested} captions in {result.seconds:.0f} s became {status.dataset.samples} samples")
    drawn = console(stream)
    drawn.print(table_of(headings(FINISHED), rows(status, FINISHED), drawn.width))
    for problem in result.problems:
        say(f"NOT RIGHT: {problem}")
    if not result.problems:
        say(
            "every input is accounted for: consumed = passed on + rejected + failed, and each stage got all of the last"
        )
    say()
    say(f"dataset        {_relative(home.dataset)}")
    say(f"contact sheet  {_relative(home.sheet)}")
    say(f"workers' log   {_relative(home.log)}")
    if result.settings.layers.common().profile == SKETCH:
        say()
        say(
            "The pictures are sketches: pictograms drawn by the profile `sketch`, not photographs, and no training data."
        )
    say()
    say("To look further:")
    if result.settings.own_cluster:
        say(f"  the topics stay on your cluster, prefix {result.settings.layers.common().prefix}")
    else:
        say(f"  {_program()} broker start --home {_relative(home.root)}")
    say(f"  {_program()} dead-letters list --settings {_relative(home.settings)}")


def _program() -> str:
    """How this program is called here: by its name, or by its path where the shell would not find it."""
    beside_python = Path(sys.executable).with_name("imgdiff")
    return "imgdiff" if shutil.which("imgdiff") or not beside_python.exists() else str(_relative(beside_python))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
