"""The reader of queries sees what they select, and refuses what is broken."""

import pytest

from tests.ops.grafana.promql import Matcher, NotPromqlError, Selector, parse


def test_selectors_and_groupings_are_found() -> None:
    parsed = parse(
        'histogram_quantile(0.95, sum by (stage, le) (rate(a_bucket{stage=~"$stage", phase="x"}[$__rate_interval])))'
        " / sum(b) > 0"
    )
    assert parsed.selectors == [
        Selector("a_bucket", {"stage": Matcher("=~", "$stage"), "phase": Matcher("=", "x")}, ranged=True),
        Selector("b", {}, ranged=False),
    ]
    assert parsed.groupings == [["stage", "le"], []]


def test_a_function_may_have_no_arguments() -> None:
    assert [selector.metric for selector in parse("time() - max by (instance) (a)").selectors] == ["a"]


@pytest.mark.parametrize(
    "query",
    [
        "sum(a",
        "sum(a))",
        "sum by stage (a)",
        "rat(a[$__rate_interval])",
        "rate(a[$interval])",
        'a{stage~"x"}',
        "a{stage=x}",
        'a{="x"}',
        "a b",
        "a /",
        "a ! b",
        "",
    ],
)
def test_what_is_broken_is_refused(query: str) -> None:
    with pytest.raises(NotPromqlError):
        parse(query)


def test_matchers_accept_what_prometheus_would() -> None:
    assert Matcher("=~", "$stage").accepts("boxes", {"stage": "edits|boxes"})
    assert not Matcher("=~", "$stage").accepts("boxes-2", {"stage": "edits|boxes"})
    assert Matcher("=", "a.c").accepts("a.c", {})
    assert not Matcher("=", "a.c").accepts("abc", {})
