"""What a dashboard is made of, and its JSON as Grafana reads it (dashboard schema 41, Grafana 12)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SCHEMA_VERSION = 41
DATA_SOURCE = {"type": "prometheus", "uid": "prometheus"}
"""The uid is that of `provisioning/datasources/prometheus.yml`."""

COLUMNS = 24
"""The width of Grafana's grid."""

PANEL_HEIGHT = 8


class Kind(StrEnum):
    """How a panel shows its numbers."""

    LINES = "timeseries"
    STATS = "stat"
    """The last value of each series, large."""
    BARS = "bargauge"
    """The last value of each series, as a bar."""


class Unit(StrEnum):
    """Grafana's names of units."""

    COUNT = "short"
    PER_SECOND = "cps"
    SECONDS = "s"
    SHARE = "percentunit"


class Colour(StrEnum):
    """Grafana's names of colours."""

    GOOD = "green"
    BAD = "red"
    WARNING = "orange"
    NONE = "transparent"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and how its series are called: `{{label}}` stands for a label's value."""

    expression: str
    legend: str
    at_once: bool = False
    """Asked once, for the end of the time range, as a sum over the whole range has to be."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `value` on a number has this colour."""

    value: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `description` says what it shows, and what to do when it looks bad."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: Unit = Unit.COUNT
    kind: Kind = Kind.LINES
    width: int = 8
    stacked: bool = False
    below: Colour = Colour.NONE
    """The colour below all thresholds; lines show none."""
    thresholds: Sequence[Threshold] = ()
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading. With `repeat` the row is there once per value of that variable."""

    title: str
    panels: Sequence[Panel]
    repeat: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A list to choose from at the top of the dashboard; any number of its values, or all."""

    name: str
    label: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A whole dashboard."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def to_json(dashboard: Dashboard) -> str:
    """The file that Grafana's provisioning reads."""
    model = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["imgdiff"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_variable(variable) for variable in dashboard.variables]},
        "panels": list(_placed(dashboard.rows)),
    }
    return json.dumps(model, indent=2, ensure_ascii=False) + "\n"


def _variable(variable: Variable) -> dict[str, Any]:
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    options = [{"selected": False, "text": value, "value": value} for value in variable.values]
    return {
        "type": "custom",
        "name": variable.name,
        "label": variable.label,
        "query": ",".join(variable.values),
        "multi": True,
        "includeAll": True,
        "current": everything,
        "options": [{"selected": True, "text": "All", "value": "$__all"}, *options],
    }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Headings and panels from left to right and from top to bottom."""
    y = number = 0
    for row in rows:
        number += 1
        yield _heading(row, number, y)
        y += 1
        x = 0
        for panel in row.panels:
            number += 1
            if x + panel.width > COLUMNS:
                x, y = 0, y + PANEL_HEIGHT
            yield {"id": number, "gridPos": {"x": x, "y": y, "w": panel.width, "h": PANEL_HEIGHT}, **_panel(panel)}
            x += panel.width
        y += PANEL_HEIGHT


def _heading(row: Row, number: int, y: int) -> dict[str, Any]:
    heading = {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        "panels": [],
    }
    return heading | ({"repeat": row.repeat} if row.repeat else {})


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(query, index) for index, query in enumerate(panel.queries)],
    }


def _target(query: Query, index: int) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATA_SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "instant": query.at_once,
        "range": not query.at_once,
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps = [{"color": panel.below, "value": None}, *({"color": t.colour, "value": t.value} for t in panel.thresholds)]
    field: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic" if panel.kind is not Kind.STATS else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.maximum is not None:
        field["max"] = panel.maximum
    if panel.kind is not Kind.LINES:
        return field | {"decimals": 0}
    return field | {
        "custom": {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
        }
    }


_LAST_VALUE = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[Kind, dict[str, Any]] = {
    Kind.LINES: {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    Kind.STATS: {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": _LAST_VALUE,
        "textMode": "value_and_name",
    },
    Kind.BARS: {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": _LAST_VALUE,
        "showUnfilled": True,
        "valueMode": "color",
    },
}
