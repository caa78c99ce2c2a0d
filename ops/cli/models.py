"""`imgdiff models`: the weights that the models of a profile need."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ops.cli.options import SettingsOptions, json_option, settings_options

if TYPE_CHECKING:
    from common.settings import CommonSettings
    from ops.models.needs import Need

UNKNOWN = "not known here"


@click.group()
def models() -> None:
    """The weights of the models: what the settings need of them, whether that is here, and how it gets here.

    Licences are as the publishers state them: what counts is the text at the source.
    """


@models.command("list")
@json_option
@settings_options
def list_models(settings: SettingsOptions, *, as_json: bool) -> None:
    """Show for each role the model, its licence, its size and what of it is here. Reads no file but the lock.

    A size with `~` is computed from the model's architecture; that of its files is known once they are in the lock.
    """
    from common.models.weights import folder_of
    from ops.cli.output import print_json, print_table
    from ops.models.licences import licence_of
    from ops.models.needs import needs_of, sources_of
    from ops.models.presence import State, presence_of
    from ops.models.sizes import computed_size, total_of

    common = settings.layers().common()
    needs = needs_of(common.models)
    total = total_of(sources_of(needs), common.weights)
    shown: list[dict[str, object]] = []
    rows = []
    for need in needs:
        source = need.source
        if source is None:
            shown.append({"role": need.role, "adapter": need.adapter, "weights": None})
            rows.append([need.role, need.adapter, "-", "-", "-", "-", "needs none"])
            continue
        found, licence = presence_of(source, common.weights), licence_of(source.id)
        computed = computed_size(source) if found.size is None else None
        named = source.revision if source.path is None and source.url is None else None
        shown.append(
            {
                "role": need.role,
                "adapter": need.adapter,
                "weights": {
                    "id": source.id,
                    "revision": found.revision or named,
                    "pinned": found.revision is not None,
                    "licence": licence.name if licence else None,
                    "licence_source": licence.source if licence else None,
                    "outputs": (licence.outputs or None) if licence else None,
                    "bytes": found.size,
                    "computed_bytes": computed,
                    "state": found.state,
                    "detail": found.detail or None,
                    "folder": str(folder_of(source, common.weights)),
                },
            }
        )
        rows.append(
            [
                need.role,
                need.adapter,
                source.id,
                found.revision or f"{named + ', ' if named else ''}not pinned",
                licence.name if licence else UNKNOWN,
                _size(found.size, computed),
                f"{found.state}: {found.detail}" if found.detail else str(found.state),
            ]
        )
    if as_json:
        print_json({"profile": common.profile, "models": shown, "total": asdict(total)})
        return
    print_table(["role", "adapter", "model", "revision", "licence", ">size", "here"], rows)
    if all(row[-1] == "needs none" for row in rows):
        click.echo(f"the profile {common.profile} needs no weights", err=True)
        return
    if total.bytes:
        unknown = f", without {', '.join(total.unknown)}: {UNKNOWN}" if total.unknown else ""
        _say(f"{_size(None if total.computed else total.bytes, total.bytes)} in all, each model once{unknown}")
    if any(row[-1] == State.MISSING for row in rows):
        click.echo("`imgdiff models download` fetches what is missing", err=True)


@models.command()
@json_option
@settings_options
def check(settings: SettingsOptions, *, as_json: bool) -> int:
    """Read every file again and compare it to the lock, as a worker does at its start. Ends with 78 where one differs."""
    from common.models.weights import find_weights
    from common.runtime.errors import ConfigurationError
    from common.runtime.exits import ExitCode
    from common.terminal import escape
    from ops.cli.output import print_json
    from ops.models.needs import needs_of, sources_of

    common = settings.layers().common()
    sources = sources_of(needs_of(common.models))
    results: list[dict[str, str | None]] = []
    for source in sources:
        try:
            revision, problem = find_weights(source, common.weights, trusting=False).revision, None
        except ConfigurationError as error:
            revision, problem = None, str(error)
        results.append({"id": source.id, "revision": revision, "problem": problem})
        if not as_json:
            click.echo(escape(problem or f"{source.id}: {revision}"))
    if as_json:
        print_json({"profile": common.profile, "models": results})
    elif not sources:
        click.echo(f"the profile {common.profile} needs no weights")
    return ExitCode.CONFIGURATION if any(each["problem"] for each in results) else ExitCode.DONE


@models.command()
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Only the model of this role; may be given again.")
@click.option("--update", is_flag=True, help="Look branches up again instead of fetching what is locked.")
@settings_options
def download(settings: SettingsOptions, *, roles: tuple[str, ...], update: bool) -> None:
    """Fetch the weights that are missing, and write revision, size and SHA-256 of every file into the lock file.

    What is locked is fetched as it was, on any machine. Called again it goes on: whole files are kept, and a connection
    that is cut is taken up where it was. The hub is `weights.hub` or its own; gated models need HF_TOKEN.
    """
    from ops.models.download import Downloader
    from ops.models.licences import licence_of
    from ops.models.needs import sources_of

    common = settings.layers().common()
    sources = sources_of(_of_roles(common, roles))
    if not sources:
        click.echo("nothing to download: none of these models has weights", err=True)
    with _Bar() as told:
        downloader = Downloader(common.weights, _say, told, bars=sys.stderr.isatty(), update=update)
        for source in sources:
            licence = licence_of(source.id)
            terms = f"{licence.name}, {licence.source}" if licence else f"{UNKNOWN}: look them up"
            _say(f"{source.id}: terms as its publisher states them: {terms}")
            locked = downloader.download(source)
            if locked is not None:
                click.echo(f"{source.id}\t{locked.revision}\t{sum(file.size for file in locked.files.values())}")


def _size(exact: int | None, computed: int | None) -> str:
    if exact is not None:
        return f"{exact / 1e9:.2f} GB"
    return f"~{computed / 1e9:.1f} GB" if computed is not None else UNKNOWN


def _of_roles(common: "CommonSettings", roles: tuple[str, ...]) -> "list[Need]":
    from ops.models.needs import ROLES, needs_of

    for role in roles:
        if role not in ROLES:
            raise click.UsageError(f"no role {role!r}, expected one of {', '.join(ROLES)}")
    return [need for need in needs_of(common.models) if not roles or need.role in roles]


def _say(line: str) -> None:
    from common.terminal import escape

    click.echo(escape(line), err=True)


class _Bar:
    """How a file from a URL gets on, on a terminal only. It begins with the first byte: the hub's client draws bars too."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._told: Callable[[int, int | None], None] | None = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, done: int, total: int | None) -> None:
        if not sys.stderr.isatty():
            return
        if self._told is None:
            self._told = self._begin()
        self._told(done, total)
        if done == total:
            self._stack.close()
            self._told = None

    def _begin(self) -> Callable[[int, int | None], None]:
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        from ops.cli.output import console

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
        progress = self._stack.enter_context(Progress(*columns, console=console(sys.stderr)))
        task = progress.add_task("", total=None)
        return lambda done, total: progress.update(task, completed=done, total=total)
