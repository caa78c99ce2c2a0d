"""`imgdiff dead-letters`: what was rejected or failed, and why."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.options import SettingsOptions, json_option, settings_options

if TYPE_CHECKING:
    from common.settings import CommonSettings
    from ops.dead_letters.reading import FoundLetter

KINDS = ("rejected", "invalid", "poison")


@click.group()
def dead_letters() -> None:
    """What was rejected or failed. Each is the input as it was, with the reason and the scores that decided."""


@dead_letters.command("list")
@click.option("--stage", metavar="STAGE", help="Only those of one worker, or of ingest.")
@click.option("--kind", type=click.Choice(KINDS), help="Only those of one kind.")
@click.option("--reason", metavar="REASON", help="Only those with this reason.")
@click.option("--limit", type=click.IntRange(min=0), help="Only the first N.")
@json_option
@settings_options
def list_(
    settings: SettingsOptions,
    *,
    stage: str | None,
    kind: str | None,
    reason: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List dead letters, topic by topic, oldest first by partition and offset.

    With --json one object per line: stage, kind, reason, id of the input, scores with their bounds, source (where the
    input lies), failed_at (seconds since 1970) and error.
    """
    from ops.cli.output import print_json
    from ops.dead_letters.filters import STAGES, Filter
    from ops.dead_letters.reading import first_letters
    from schemas.dead_letters import DeadLetterKind

    if stage is not None and stage not in STAGES:
        raise click.UsageError(f"no stage {stage!r}, expected one of {', '.join(STAGES)}")
    wanted = Filter(stage, None if kind is None else DeadLetterKind(kind), reason)
    found = first_letters(settings.layers().common(), wanted, limit)
    if as_json:
        for letter in found:
            print_json(letter.to_json())
    else:
        _print_lines(found)


@dead_letters.command()
@click.argument("where", metavar="TOPIC/PARTITION/OFFSET")
@click.option(
    "--save-images",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the input's pictures into this folder.",
)
@settings_options
def show(settings: SettingsOptions, where: str, folder: Path | None) -> None:
    """Show everything about one dead letter: headers, record, trail, scores against bounds, traceback.

    TOPIC/PARTITION/OFFSET is where its input lies, as the list gives it, or where the dead letter itself lies; the
    topic's prefix may be left out, as in pairs/3/17 or boxes.rejected/3/4.
    """
    from ops.dead_letters.reading import NoSuchLetterError, letter_at
    from ops.dead_letters.showing import show as lines
    from schemas.headers import SourceCoordinates

    try:
        coordinates = SourceCoordinates.parse(where)
    except ValueError as error:
        raise click.UsageError(f"{where}: expected TOPIC/PARTITION/OFFSET, such as pairs/3/17") from error
    common = settings.layers().common()
    try:
        found = letter_at(common, coordinates)
    except NoSuchLetterError as error:
        raise click.ClickException(str(error)) from error
    for line in lines(found):
        click.echo(line)
    if folder is not None:
        _save(found, common, folder)


def _save(found: "FoundLetter", common: "CommonSettings", folder: Path) -> None:
    from common.blobs import Blobs
    from ops.dead_letters.showing import save_images
    from schemas.invalid import InvalidRecord

    click.echo("")
    try:
        for name, data in save_images(found, Blobs(common.blobs)):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
            click.echo(f"saved {folder / name}")
    except InvalidRecord as error:
        raise click.ClickException(error.detail) from error
    except OSError as error:
        raise click.ClickException(f"{folder}: {error.strerror or error}") from error


def _print_lines(found: "Iterable[FoundLetter]") -> None:
    """One line per dead letter as it is read: a table would have to hold all of them first."""
    from ops.cli.output import escape

    count = 0
    for each in found:
        count += 1
        click.echo(escape(_line(each)))
    if not count:
        click.echo("no dead letters", err=True)


def _line(each: "FoundLetter") -> str:
    from ops.dead_letters.showing import utc, verdict

    if each.letter is None:
        return f"{'?':<20} {each.at}  unreadable: {each.problem}"
    letter = each.letter
    failing = [f"{name} {verdict(score)}" for name, score in letter.scores.items() if not score.passes]
    why = "; ".join(filter(None, [*failing, each.error or letter.detail]))
    what = f"{each.stage} {letter.kind} {letter.reason}"
    return f"{utc(letter.failed_at)}  {letter.source}  {what}" + (f": {why}" if why else "")
