"""`imgdiff dead-letters`: what was rejected or failed, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.dead_letter_filters import FilterOptions, filter_options
from ops.cli.dead_letter_jobs import purge, replay
from ops.cli.options import SettingsOptions, json_option, settings_options

if TYPE_CHECKING:
    from common.settings import CommonSettings
    from ops.dead_letters.reading import FoundLetter
    from ops.dead_letters.statistics import Statistics
    from ops.dead_letters.what_if import StageVerdicts


WHERE_FROM = frozenset({"kafka", "prefix", "profile"})
"""Settings that say where the dead letters lie, and what the other settings begin with."""


@click.group()
def dead_letters() -> None:
    """What was rejected or failed. Each is the input as it was, with the reason and the scores that decided."""


dead_letters.add_command(replay)
dead_letters.add_command(purge)


@dead_letters.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N.")
@json_option
@settings_options
def list_(settings: SettingsOptions, *, chosen: FilterOptions, limit: int | None, as_json: bool) -> None:
    """List dead letters, topic by topic, oldest first by partition and offset.

    A line says when the input ended, where it lies (that is what `show` takes), which caption it comes from, why, and
    at which attempt where it has been sent again. With --json one object per line: stage, kind, reason, attempt, id of
    the input, caption_id, scores with their bounds, source (where the input lies), failed_at (seconds since 1970) and
    error.
    """
    from ops.cli.output import print_json
    from ops.dead_letters.reading import first_letters

    found = first_letters(settings.layers().common(), chosen.filter(), limit)
    if as_json:
        for letter in found:
            print_json(letter.to_json())
    else:
        _print_lines(found)


@dead_letters.command()
@click.argument("where", metavar="[TOPIC/PARTITION/OFFSET]", required=False)
@click.option("--caption", metavar="ID", help="Show all that come from the caption with this id.")
@click.option(
    "--save-images",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the input's pictures into this folder.",
)
@settings_options
def show(settings: SettingsOptions, where: str | None, caption: str | None, folder: Path | None) -> None:
    """Show everything about one dead letter: headers, record, trail, scores against bounds, traceback.

    TOPIC/PARTITION/OFFSET is where its input lies, as the list gives it, or where the dead letter itself lies; the
    topic's prefix may be left out, as in pairs/3/17 or boxes.rejected/3/4. An item that ingest refused lies in its source,
    as in ingest/SOURCE/0/1. With --caption instead, all those that come from one caption.
    """
    from ops.dead_letters.filters import Filter
    from ops.dead_letters.reading import NoSuchLetterError, find_letters, letter_at
    from ops.dead_letters.showing import show as lines
    from schemas.headers import SourceCoordinates

    if (where is None) == (caption is None):
        raise click.UsageError("expected either TOPIC/PARTITION/OFFSET or --caption ID")
    try:
        coordinates = None if where is None else SourceCoordinates.parse(where)
    except ValueError as error:
        raise click.UsageError(f"{where}: expected TOPIC/PARTITION/OFFSET, such as pairs/3/17") from error
    common = settings.layers().common()
    try:
        letters = (
            list(find_letters(common, Filter(caption=caption)))
            if coordinates is None
            else [letter_at(common, coordinates)]
        )
    except NoSuchLetterError as error:
        raise click.ClickException(str(error)) from error
    if not letters:
        raise click.ClickException(f"no dead letter of a caption {caption}")
    if folder is not None and len(letters) > 1:
        raise click.ClickException(
            f"--save-images: {len(letters)} dead letters of a caption {caption}: name one by its place, such as "
            f"{letters[0].at}"
        )
    for index, found in enumerate(letters):
        click.echo("\n" * (index > 0) + "\n".join(lines(found)))
    if folder is not None:
        _save(letters[0], common, folder)


@dead_letters.command()
@filter_options
@json_option
@settings_options
def stats(settings: SettingsOptions, *, chosen: FilterOptions, as_json: bool) -> None:
    """Count dead letters by stage, kind, reason and class of error, and show how their scores are spread.

    An input that was sent again and ended again counts once for each attempt. Quantiles are exact to about 4 digits.
    With --json also a histogram of each score: how many lie in each of 20 equal parts from min to max.
    """
    from ops.cli.output import print_json
    from ops.dead_letters.statistics import statistics_of

    counted = statistics_of(settings.layers().common(), chosen.filter())
    if as_json:
        print_json(counted.to_json())
    else:
        _print_statistics(counted)


@dead_letters.command("what-if")
@filter_options
@json_option
@settings_options
def what_if_(settings: SettingsOptions, *, chosen: FilterOptions, as_json: bool) -> None:
    """Say what other bounds would have decided, from the scores that are stored. No model runs, nothing changes.

    \b
    imgdiff dead-letters what-if --set boxes.pair_similarity.low=0.88

    For each stage that --set names (for all without one): how many of its rejections would pass, how many inputs that
    passed would not, and the same for each filter. Only what was measured counts: an input that one filter turned away
    may still fail at a later one that never saw it. An input that was sent again and rejected again counts once for
    each attempt. Options that choose dead letters leave out rejections only. `replay --would-pass` with the same
    settings sends again what would pass.
    """
    from ops.cli.output import print_json
    from ops.dead_letters.what_if import FILTERING, stages_of, what_if

    wanted = chosen.filter()
    if wanted.stage is not None and wanted.stage not in FILTERING:
        raise click.UsageError(f"{wanted.stage} has no filters, expected --stage to be one of {', '.join(FILTERING)}")
    layers = settings.layers()
    common = layers.common()
    _check_flags(settings.flags, wanted.stage)
    stages = [wanted.stage] if wanted.stage else stages_of(settings.flags)
    found = [what_if(layers, common, stage, replace(wanted, stage=stage)) for stage in stages]
    if as_json:
        print_json([each.to_json() for each in found])
    else:
        _print_verdicts(found)


def _check_flags(flags: Sequence[str], stage: str | None) -> None:
    """A setting that changes none of the chosen filters would give a table that looks like an answer."""
    from common.settings import section_of
    from ops.dead_letters.what_if import FILTERING, filter_settings

    stages = (stage,) if stage else FILTERING
    changing = [f"{section_of(each)}.{name}" for each in stages for name in filter_settings(each)]
    sections = [section_of(each) for each in stages]
    for flag in flags:
        key = flag.partition("=")[0]
        path = key.replace("-", "_").split(".")
        if (
            path[0] not in WHERE_FROM
            and path not in [[each] for each in sections]
            and ".".join(path[:2]) not in changing
        ):
            of = f" of {stage}" if stage else ""
            raise click.UsageError(f"--set {key}: changes no filter{of}, expected one of {', '.join(changing)}")


def _print_statistics(counted: "Statistics") -> None:
    from ops.cli.output import print_table
    from ops.dead_letters.showing import window
    from ops.dead_letters.statistics import QUANTILES

    rows = [[g.stage, g.kind, g.reason, g.error_class, str(count)] for g, count in counted.counts()]
    print_table(["stage", "kind", "reason", "error class", ">count"], rows)
    click.echo(f"{counted.count} dead letters")
    if counted.scores:
        click.echo("")
        print_table(
            [
                "stage",
                "score",
                ">count",
                ">too low",
                ">too high",
                ">min",
                *(f">{q:.0%}" for q in QUANTILES),
                ">max",
                "bounds",
            ],
            [
                [
                    stage,
                    name,
                    *map(str, (score.spread.count, score.too_low, score.too_high)),
                    *(
                        f"{value:.4g}"
                        for value in (
                            score.spread.least,
                            *(score.spread.quantile(share) for share in QUANTILES),
                            score.spread.most,
                        )
                    ),
                    window(score.bounds),
                ]
                for stage, name, score in counted.spreads()
            ],
        )


def _print_verdicts(found: "Sequence[StageVerdicts]") -> None:
    from ops.cli.output import print_table
    from ops.dead_letters.showing import window

    rows = []
    for each in found:
        rows.append(
            [each.stage, "(all filters)", *map(str, (each.rejected, each.would_pass, each.passed, each.would_not)), ""]
        )
        for name, bounds in each.bounds.items():
            verdicts = each.filters.get(name)
            gained, lost = (verdicts.rejected_would_pass, verdicts.passed_would_not) if verdicts else (0, 0)
            rows.append([each.stage, name, "", str(gained), "", str(lost), window(bounds)])
    print_table(["stage", "filter", ">rejected", ">would pass", ">passed", ">would not", "bounds"], rows)


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
    from common.terminal import escape

    count = 0
    for each in found:
        count += 1
        click.echo(escape(_line(each)))
    if not count:
        click.echo("no dead letters", err=True)


def _line(each: "FoundLetter") -> str:
    from ops.dead_letters.showing import utc, verdict
    from schemas.ids import MAX_ID_LENGTH

    caption = (each.caption_id or "-")[:MAX_ID_LENGTH]
    if each.letter is None:
        return f"{'?':<20}  {each.at}  {caption}  unreadable: {each.problem}"
    letter = each.letter
    failing = [f"{name} {verdict(score)}" for name, score in letter.scores.items() if not score.passes]
    why = "; ".join(filter(None, [*failing, each.error or letter.detail]))
    what = f"{each.stage} {letter.kind} {letter.reason}" + (f", attempt {letter.attempt}" if letter.attempt > 1 else "")
    return f"{utc(letter.failed_at)}  {letter.source}  {caption}  {what}" + (f": {why}" if why else "")
