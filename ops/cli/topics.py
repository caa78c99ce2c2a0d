"""`imgdiff topics`: the topics of the stream, and the store of pictures beside them."""

import click

from ops.cli.options import SettingsOptions, json_option, settings_options


@click.group()
def topics() -> None:
    """The topics of the stream. They are created here and nowhere else: nothing creates a topic by using it."""


@topics.command()
@settings_options
def create(settings: SettingsOptions) -> int:
    """Create the topics that are missing, and the store of pictures. What exists is left as it is.

    Ends with 1 where an existing topic is not what the settings say.
    """
    from common.blobs import Blobs
    from ops.topics import create_topics, find_drift

    common = settings.layers().common()
    Blobs(common.blobs).initialise()
    created = create_topics(common)
    for name in created:
        click.echo(f"created {name}")
    if not created:
        click.echo(f"all topics of {common.prefix} are there")
    found = find_drift(common)
    if found:
        click.echo("topics that exist with other settings; see `imgdiff topics drift`", err=True)
    return 1 if found else 0


@topics.command()
@settings_options
@json_option
def drift(settings: SettingsOptions, as_json: bool) -> int:
    """Show where the cluster's topics differ from the settings. Ends with 1 where they do."""
    from dataclasses import asdict

    from ops.cli.output import print_json, print_table
    from ops.topics import find_drift

    common = settings.layers().common()
    found = find_drift(common)
    if as_json:
        print_json([asdict(each) for each in found])
    elif found:
        rows = [[d.topic, d.setting, "missing" if d.found is None else d.found, d.expected] for d in found]
        print_table(["topic", "setting", "found", "expected"], rows)
    else:
        click.echo(f"all topics of {common.prefix} are as the settings say")
    return 1 if found else 0
