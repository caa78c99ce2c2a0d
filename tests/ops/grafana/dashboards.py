"""The dashboards as they lie in the repository, and the queries in them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "ops" / "grafana" / "dashboards"


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    panel: str
    expression: str
    legend: str

    def __str__(self) -> str:
        return f"{self.panel}: {self.legend}"


def dashboard() -> dict[str, Any]:
    model: dict[str, Any] = json.loads((FOLDER / "stream.json").read_text(encoding="utf-8"))
    return model


def panels() -> list[dict[str, Any]]:
    """Those with numbers, without the headings."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def targets() -> Iterator[Target]:
    for panel in panels():
        for target in panel["targets"]:
            yield Target(panel["title"], target["expr"], target["legendFormat"])
