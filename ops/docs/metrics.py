"""`docs/metrics.md`."""

from prometheus_client import Metric

from common.metrics import RebalanceEvent, TransactionResult, WorkerMetrics, WorkPhase
from ops.docs.docstrings import UndocumentedError, explanations
from ops.docs.markdown import code, page, table
from ops.workers import WORKERS
from schemas.dead_letters import DeadLetterKind

INTRODUCTION = """\
Every worker process answers `/metrics`, `/livez` and `/readyz` at `http.host` and `http.port` (see
[settings](settings.md)). `/metrics` is what Prometheus reads; `/livez` fails when a thread has not moved within its
limit, `/readyz` while the worker can not work, and both say why. Counters count what this process has committed
since its start; `imgdiff status` shows the totals of the stream, which no restart loses."""

FIRST_EVENTS = """\
Counters with a closed set of labels stand at 0 from the start, so that the first event shows as an increase. Histograms
come as `_bucket`, `_sum` and `_count`."""


def sample_metrics() -> WorkerMetrics:
    """The metrics of a worker in which every metric has at least one sample, so that its labels can be seen."""
    metrics = WorkerMetrics("boxes", "0", "sketch")
    metrics.declare_reasons(["no_segments"])
    metrics.retried("stage")
    metrics.lag({0: 0})
    return metrics


def full_name(family: Metric) -> str:
    """The name to ask Prometheus for; the client's own leaves the ending of counters out."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def labels_of(family: Metric) -> list[str]:
    """The labels of a metric, but for those of a histogram's buckets. Raises UndocumentedError without a sample."""
    if not family.samples:
        raise UndocumentedError(f"{family.name} has no sample to tell its labels by")
    names = {name: None for sample in family.samples for name in sample.labels}
    return sorted(names.keys() - {"le"}, key=lambda name: (name != "stage", name))


def metrics_page() -> str:
    """Every metric with its type, labels and help, and what the labels say."""
    metrics = table(
        ["Metric", "Type", "Labels", "Meaning"],
        [
            [code(full_name(family)), family.type, ", ".join(map(code, labels_of(family))), family.documentation]
            for family in sample_metrics().registry.collect()
        ],
    )
    labels = table(
        ["Label", "Value", "Meaning"],
        [
            ["`stage`", ", ".join(map(code, WORKERS)), "The worker."],
            ["`outcome`", "`passed`, `rejected`, `failed`", "What became of an input."],
            ["`reason`", "see [reasons](reasons.md)", "Why an input was rejected, or failed."],
            *(
                ["`kind`", code(kind), meaning]
                for kind, meaning in explanations(DeadLetterKind).items()
                if kind != DeadLetterKind.REJECTED
            ),
            *(["`phase`", code(phase), meaning] for phase, meaning in explanations(WorkPhase).items()),
            *(["`result`", code(result), meaning] for result, meaning in explanations(TransactionResult).items()),
            *(["`event`", code(event), meaning] for event, meaning in explanations(RebalanceEvent).items()),
            [
                "`action`",
                "such as `fetch images`",
                "What was tried again because something was unreachable, or memory was short.",
            ],
            ["`partition`", "a number", "The partition of the input topic. There are as many as the topic has."],
        ],
    )
    return page("Metrics", INTRODUCTION, metrics, FIRST_EVENTS, "## Labels", labels)
