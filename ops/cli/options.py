"""Options that several commands share."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from common.settings import Layers

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class SettingsOptions:
    """What the command line says about settings; nothing is read before `layers` is asked for."""

    file: Path | None = None
    profile: str | None = None
    flags: tuple[str, ...] = ()

    def layers(self) -> "Layers":
        """All layers of this process. Raises ConfigurationError naming the file, variable or flag that is wrong."""
        from common.settings import load_layers

        return load_layers(os.environ, self.file, self.flags, self.profile)

    def arguments(self) -> list[str]:
        """The same options for another process's command line."""
        return [
            *(["--settings", str(self.file)] if self.file else []),
            *(["--profile", self.profile] if self.profile else []),
            *(part for flag in self.flags for part in ("--set", flag)),
        ]


def settings_options(command: Callable[Concatenate[SettingsOptions, P], R]) -> Callable[P, R]:
    """Give a command the options for settings; it gets them as its first argument."""

    @click.option("--settings", "settings_file", type=click.Path(path_type=Path), help="A TOML file of settings.")
    @click.option("--profile", help="The profile to start from.")
    @click.option("--set", "flags", multiple=True, metavar="KEY=VALUE", help="One setting; may be given again.")
    @wraps(command)
    def with_settings(
        settings_file: Path | None, profile: str | None, flags: tuple[str, ...], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        return command(SettingsOptions(settings_file, profile, flags), *args, **kwargs)

    return with_settings  # type: ignore[return-value]  # click calls it by keyword


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON alone on standard output.")
