"""`imgdiff ingest`: captions into the stream, each exactly once."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from common.terminal import escape
from ops.cli.options import SettingsOptions, json_option, settings_options
from ops.cli.output import print_json
from ops.cli.stopping import stop_signals

if TYPE_CHECKING:
    from ops.ingest.ingest import IngestResult, SourceProgress, SourceResult

FORMATS = ("text", "jsonl", "coco", "parquet")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--watch", metavar="DIR", type=click.Path(path_type=Path), help="Read the files that come into this folder."
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(FORMATS),
    help="What the files are.  [default: by suffix; standard input: jsonl where it begins with a brace, else text]",
)
@click.option("--caption-field", metavar="NAME", help="Field or column of the caption.  [default: caption]")
@click.option("--id-field", metavar="NAME", help="Field or column of the caption's id.  [default: id, if there]")
@click.option(
    "--source",
    "name",
    metavar="NAME",
    help="Remember the source by this name instead of its content; resumes standard input.",
)
@click.option("--limit", type=click.IntRange(min=0), help="Only the first N items of each source.")
@click.option(
    "--again", is_flag=True, help="Read a source once more that has been read to its end, with new caption ids."
)
@json_option
@settings_options
def ingest(
    settings: SettingsOptions,
    *,
    files: Sequence[Path],
    watch: Path | None,
    file_format: str | None,
    caption_field: str | None,
    id_field: str | None,
    name: str | None,
    limit: int | None,
    again: bool,
    as_json: bool,
) -> int:
    """Read captions from FILES (`-` is standard input) or a watched folder.

    \b
    text     one caption per line                              .txt .text
    jsonl    one JSON object per line                          .jsonl .ndjson
    coco     the annotations of a COCO captions file           .json
    parquet  a column of texts                                 .parquet

    Blank lines are passed over. Each caption enters the stream exactly once: run the same command again after a crash or
    Ctrl-C and it goes on from where it stood; a file that has been read to its end is not read again (--again does). A
    file is known by its content, whatever its name. Items that are no caption go to the topic ingest.failed with a reason;
    the command then ends with exit code 1.
    """
    if bool(files) == (watch is not None):
        raise click.UsageError("expected either files or --watch DIR")
    if watch is not None and (name is not None or limit is not None or again):
        raise click.UsageError("--watch reads whole new files: it does not go with --source, --limit or --again")

    from common.runtime.exits import ExitCode
    from common.runtime.faults import Faults
    from ops.ingest.ingest import ingest_files, watch_folder
    from ops.ingest.readers import WrongFileError
    from ops.ingest.settings import IngestSettings
    from ops.transactions import InterruptedRunError
    from schemas.topics import INGEST

    flags = {"format": file_format, "caption_field": caption_field, "id_field": id_field}
    layers = settings.layers()
    common = layers.common()
    section = layers.section(INGEST, IngestSettings)
    section = IngestSettings.model_validate(
        section.model_dump() | {key: value for key, value in flags.items() if value is not None}
    )
    faults = Faults.from_environment(os.environ, INGEST)
    say = _say_nothing if as_json else click.echo
    refused = _Refused()
    try:
        with stop_signals() as stopping, _progress_bar() as report:
            if watch is not None:
                result = watch_folder(
                    common,
                    section,
                    watch,
                    stopping=stopping,
                    finished=lambda source: say(_summary(source)),
                    refused=refused,
                    report=report,
                    faults=faults,
                )
            else:
                result = ingest_files(
                    common,
                    section,
                    files,
                    name=name,
                    again=again,
                    limit=limit,
                    stopping=stopping,
                    report=report,
                    faults=faults,
                )
                for source in result.sources:
                    say(_summary(source))
    except WrongFileError as error:
        return _failed(error, ExitCode.USAGE)
    except InterruptedRunError as error:
        return _failed(error, ExitCode.OTHER)
    if as_json:
        print_json(_as_json(result))
    if result.interrupted:
        click.echo("imgdiff: stopped; run the same command again to go on", err=True)
    if result.failed:
        click.echo(
            f"imgdiff: {_no_captions(result.failed)}: `imgdiff dead-letters list --stage ingest` lists "
            f"{'it' if result.failed == 1 else 'them'}",
            err=True,
        )
    return ExitCode.OTHER if result.failed or result.interrupted or refused.any else ExitCode.DONE


class _Refused:
    """Says which files of a watched folder could not be read, and remembers that there were any."""

    def __init__(self) -> None:
        self.any = False

    def __call__(self, error: Exception) -> None:
        self.any = True
        _failed(error, 0)


def _failed(error: Exception, code: int) -> int:
    click.echo(f"imgdiff: {escape(str(error))}", err=True)
    return code


def _say_nothing(_: str) -> None:
    return


def _summary(source: "SourceResult") -> str:
    before = f", {_counted(source.skipped, 'item')} read before" if source.skipped else ""
    failed = f", {_no_captions(source.failed)}" if source.failed else ""
    ingested = _counted(source.ingested, "caption")
    return f"{escape(source.name)}: {ingested} ingested{failed}{before} (source {source.source})"


def _no_captions(count: int) -> str:
    return "1 item is no caption" if count == 1 else f"{count} items are no captions"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _as_json(result: "IngestResult") -> dict[str, object]:
    return {
        "ingested": result.ingested,
        "failed": result.failed,
        "interrupted": result.interrupted,
        "sources": [asdict(source) for source in result.sources],
    }


@contextmanager
def _progress_bar() -> "Iterator[Callable[[SourceProgress], None]]":
    """Shows progress on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[captions]} captions, {task.fields[failed]} failed"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    tasks = {}

    def report(now: "SourceProgress") -> None:
        if now.name not in tasks:
            tasks[now.name] = bar.add_task(now.name, total=None, captions=0, failed=0)
        bar.update(
            tasks[now.name],
            total=None if now.share is None else 1.0,
            completed=now.share or 0.0,
            captions=now.ingested,
            failed=now.failed,
        )

    with bar:
        yield report
