"""`imgdiff broker`: a local Apache Kafka with nothing installed beforehand."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.options import json_option
from ops.cli.output import print_json

if TYPE_CHECKING:
    from ops.broker.local import BrokerStatus, LocalBroker


home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".imgdiff"),
    show_default=True,
    help="Folder with the broker in it; that of the demo is .imgdiff/demo.",
)


@click.group()
def broker() -> None:
    """A local Apache Kafka, in the background; its data under .imgdiff/broker."""


@broker.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port to listen on, 0 for any.  [default: 9092 or the next]"
)
@home_option
@json_option
def start(port: int | None, home: Path, as_json: bool) -> None:
    """Start the broker and wait until it answers. The first start downloads 45 MB."""
    _show(_local_broker(home).start(port), as_json)


@broker.command()
@home_option
def stop(home: Path) -> None:
    """Stop the broker. Its data stay."""
    local = _local_broker(home)
    ran = local.status().running
    stopped = local.stop()
    click.echo(f"{'stopped' if ran else 'not running'}; data in {stopped.data}")


@broker.command()
@home_option
@json_option
def status(home: Path, as_json: bool) -> None:
    """Say whether the broker runs, and where."""
    _show(_local_broker(home).status(), as_json)


def _local_broker(home: Path) -> "LocalBroker":
    from ops.broker.local import HOME, LocalBroker

    return LocalBroker(home, jars=HOME / "jars")


def _show(found: "BrokerStatus", as_json: bool) -> None:
    from ops.broker.network import DEFAULT_PORT, HOST

    if as_json:
        print_json(found.to_json())
    elif not found.running:
        click.echo(f"not running; data in {found.data}")
    else:
        click.echo(f"running at {found.bootstrap_servers}, process {found.pid}, data in {found.data}")
        if found.bootstrap_servers != f"{HOST}:{DEFAULT_PORT}":
            click.echo(f"for other commands: export IMGDIFF_KAFKA__BOOTSTRAP_SERVERS={found.bootstrap_servers}")
