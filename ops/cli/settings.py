"""`imgdiff settings`: what holds, and where it came from."""

import click

from ops.cli.options import SettingsOptions, json_option, settings_options


@click.command()
@click.option("--changed", is_flag=True, help="Only those that are not the default.")
@json_option
@settings_options
def settings(options: SettingsOptions, *, changed: bool, as_json: bool) -> None:
    """Print every setting with its effective value and where that came from; secrets are hidden.

    A later layer goes over an earlier one: default, profile, file (--settings or $IMGDIFF_SETTINGS), environment
    (IMGDIFF_BOXES__BATCH_SIZE is boxes.batch_size), --set.
    """
    import json

    from ops.cli.output import print_json, print_table
    from ops.effective import DEFAULT, effective_settings

    found = [each for each in effective_settings(options.layers()) if not changed or each.origin != DEFAULT]
    if as_json:
        print_json({each.key: {"value": each.value, "from": each.origin} for each in found})
    else:
        rows = [[each.key, json.dumps(each.value, ensure_ascii=False), each.origin] for each in found]
        print_table(["setting", "value", "from"], rows)
