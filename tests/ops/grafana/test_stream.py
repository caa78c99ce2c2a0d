"""The dashboard asks for what the workers expose, shows all of it, and says what to do."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ops.docs.metrics import full_name, sample_metrics
from ops.grafana.panels import to_json
from ops.grafana.stream import STREAM
from schemas.topics import ROUTES
from tests.ops.grafana.dashboards import FOLDER, Target, dashboard, panels, targets
from tests.ops.grafana.promql import parse

TARGET_LABELS = {"instance", "job"}
"""What Prometheus itself adds to every series."""

TARGETS = list(targets())


@pytest.fixture(scope="module")
def page() -> list[Metric]:
    """What a worker exposes, as Prometheus reads it."""
    return list(text_string_to_metric_families(generate_latest(sample_metrics().registry).decode()))


@pytest.fixture(scope="module")
def families(page: list[Metric]) -> Mapping[str, Metric]:
    """The metric of every name that a query may use."""
    return {sample.name: family for family in page for sample in family.samples}


def test_the_file_is_up_to_date() -> None:
    written = (FOLDER / "stream.json").read_text(encoding="utf-8")
    assert written == to_json(STREAM), "stream.json is stale: run `python -m ops.grafana`"


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_query_uses_what_workers_expose(target: Target, page: list[Metric], families: Mapping[str, Metric]) -> None:
    parsed = parse(target.expression)
    assert parsed.selectors
    for selector in parsed.selectors:
        assert selector.metric in families, f"{selector.metric} is no metric of a worker"
        labels = {label for s in families[selector.metric].samples for label in s.labels} | TARGET_LABELS
        assert set(selector.matchers) <= labels
        assert {label for grouping in parsed.groupings for label in grouping} <= labels
        assert selector.finds(page, {"stage": "boxes"})
        assert not selector.finds(page, {"stage": "pairs"}), "not limited to the chosen stages"


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_query_asks_for_the_rate_of_what_only_grows(target: Target, families: Mapping[str, Metric]) -> None:
    for selector in parse(target.expression).selectors:
        assert selector.ranged == (families[selector.metric].type != "gauge")


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_quantiles_are_of_buckets(target: Target) -> None:
    parsed = parse(target.expression)
    buckets = [selector for selector in parsed.selectors if selector.metric.endswith("_bucket")]
    assert bool(buckets) == ("histogram_quantile(" in target.expression)
    assert all(("le" in grouping) == bool(buckets) for grouping in parsed.groupings)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_legend_tells_the_series_apart(target: Target) -> None:
    kept = {label for grouping in parse(target.expression).groupings for label in grouping} - {"le"}
    named = set(re.findall(r"{{(\w+)}}", target.legend))
    assert named == kept
    assert target.legend


def test_every_metric_is_shown(page: list[Metric]) -> None:
    asked = {selector.metric for target in TARGETS for selector in parse(target.expression).selectors}
    for family in page:
        assert asked & {full_name(family), f"{family.name}_bucket"}, f"{family.name} is on no panel"


def test_titles_and_numbers_are_unique() -> None:
    for key in ("title", "id"):
        values = [panel[key] for panel in dashboard()["panels"]]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_queries_and_says_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_do_not_overlap() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & covered
        covered |= cells


def test_everything_comes_from_the_provisioned_data_source() -> None:
    provisioning = FOLDER.parent / "provisioning" / "datasources" / "prometheus.yml"
    [source] = yaml.safe_load(provisioning.read_text())["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    for panel in panels():
        assert panel["datasource"] == wanted
        assert all(target["datasource"] == wanted for target in panel["targets"])


def test_stages_are_chosen_by_a_variable_in_the_order_of_the_stream() -> None:
    [variable] = dashboard()["templating"]["list"]
    workers = [route.worker for route in ROUTES]
    assert variable["query"].split(",") == workers
    assert [option["value"] for option in variable["options"]] == ["$__all", *workers]
    assert variable["multi"]
    assert variable["includeAll"]
    repeated = [panel for panel in dashboard()["panels"] if "repeat" in panel]
    assert [(row["title"], row["repeat"]) for row in repeated] == [("$stage", variable["name"])]
