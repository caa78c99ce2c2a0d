"""The dashboard of the stream: all stages side by side, then everything about each."""

from common.settings import RuntimeSettings
from ops.grafana.panels import Colour, Dashboard, Kind, Panel, Query, Row, Threshold, Unit, Variable
from ops.workers import WORKERS

RUNTIME = RuntimeSettings()

OVERVIEW = Row(
    "Overview",
    [
        Panel(
            "Workers up",
            "Processes that Prometheus reaches. A stage without a number has none: see whether it was started, and its "
            "log. Work waits in Kafka meanwhile; nothing is lost.",
            [Query('count by (stage) (imgdiff_build_info{stage=~"$stage"})', "{{stage}}")],
            kind=Kind.STATS,
            width=6,
            below=Colour.GOOD,
        ),
        Panel(
            "Workers ready",
            "Processes with models loaded, in their group, with nothing being retried. Fewer than are up: a worker "
            "starts, drains, or waits for the broker, the store or a model endpoint. Its /readyz and its log say which.",
            [Query('sum by (stage) (imgdiff_worker_ready{stage=~"$stage"})', "{{stage}}")],
            kind=Kind.STATS,
            width=6,
            below=Colour.BAD,
            thresholds=[Threshold(1, Colour.GOOD)],
        ),
        Panel(
            "Failures in the time range",
            "Inputs that could not be worked on. Any is worth a look: `imgdiff dead-letters list --stage STAGE` has "
            "them with their reasons, docs/reasons.md says what to do about each.",
            [Query('sum by (stage) (increase(imgdiff_failures_total{stage=~"$stage"}[$__range]))', "{{stage}}", True)],
            kind=Kind.STATS,
            width=6,
            below=Colour.GOOD,
            thresholds=[Threshold(0.5, Colour.BAD)],
        ),
        Panel(
            "Inputs in the time range",
            "How many inputs each stage has dealt with. A stage far shorter than the one before it rejects much or lags "
            "behind: the panels below say which.",
            [
                Query(
                    'sum by (stage) (increase(imgdiff_records_consumed_total{stage=~"$stage"}[$__range]))',
                    "{{stage}}",
                    True,
                )
            ],
            kind=Kind.BARS,
            width=6,
        ),
        Panel(
            "Throughput of all stages",
            "Inputs whose outcome was committed, per second. Flat at 0 with lag: the stage stands still; see whether its "
            "workers are ready.",
            [
                Query(
                    'sum by (stage) (rate(imgdiff_records_consumed_total{stage=~"$stage"}[$__rate_interval]))',
                    "{{stage}}",
                )
            ],
            Unit.PER_SECOND,
        ),
        Panel(
            "Lag of all stages",
            "Records that wait for each stage. One that only grows needs more workers, up to the number of partitions. A "
            "line that ends means that no worker of the stage runs any more.",
            [Query('sum by (stage) (imgdiff_consumer_lag_records{stage=~"$stage"})', "{{stage}}")],
        ),
        Panel(
            "Time in the models",
            "Share of the time that a stage's workers spend in their models. The stage nearest to 100 % is the "
            "bottleneck: give it more workers. Low with lag: the time goes elsewhere, see seconds by phase.",
            [
                Query(
                    'sum by (stage) (rate(imgdiff_phase_seconds_total{stage=~"$stage", phase="stage"}[$__rate_interval]))'
                    ' / count by (stage) (imgdiff_build_info{stage=~"$stage"})',
                    "{{stage}}",
                )
            ],
            Unit.SHARE,
            thresholds=[Threshold(0.9, Colour.WARNING)],
            maximum=1,
        ),
        Panel(
            "Rejected share of all stages",
            "Share of inputs that quality control rejected. A sudden change with the same kind of captions means that a "
            "model or a threshold has changed: rejects by reason, below, says which filter.",
            [
                Query(
                    'sum by (stage) (rate(imgdiff_records_total{stage=~"$stage", outcome="rejected"}[$__rate_interval]))'
                    ' / sum by (stage) (rate(imgdiff_records_consumed_total{stage=~"$stage"}[$__rate_interval]))',
                    "{{stage}}",
                )
            ],
            Unit.SHARE,
            width=12,
            maximum=1,
        ),
        Panel(
            "Record age of all stages, p95",
            "How old inputs are when their outcome commits, that is how long they waited and were worked on. It grows "
            "with the lag; without lag it is batch wait plus batch duration.",
            [
                Query(
                    "histogram_quantile(0.95, sum by (stage, le) "
                    '(rate(imgdiff_record_age_seconds_bucket{stage=~"$stage"}[$__rate_interval])))',
                    "{{stage}}",
                )
            ],
            Unit.SECONDS,
            width=12,
        ),
    ],
)


def _quantiles(metric: str) -> list[Query]:
    return [
        Query(
            f'histogram_quantile({quantile}, sum by (le) (rate({metric}_bucket{{stage=~"$stage"}}[$__rate_interval])))',
            name,
        )
        for quantile, name in ((0.5, "p50"), (0.95, "p95"))
    ]


def _rate(metric: str, label: str) -> Query:
    return Query(f'sum by ({label}) (rate({metric}{{stage=~"$stage"}}[$__rate_interval]))', "{{" + label + "}}")


PER_STAGE = Row(
    "$stage",
    [
        Panel(
            "Throughput by outcome",
            "Inputs passed on, rejected and failed, per second. Failed should not show at all.",
            [_rate("imgdiff_records_total", "outcome")],
            Unit.PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Records produced",
            "Records written to the next topic, per second; one input may give several. The sink writes none: its rows "
            "are files.",
            [Query('sum(rate(imgdiff_records_produced_total{stage=~"$stage"}[$__rate_interval]))', "produced")],
            Unit.PER_SECOND,
        ),
        Panel(
            "Lag",
            "Records that wait: of all partitions, and of the longest one. When one partition holds nearly all of it, its "
            "owner is slow or stuck, or few keys have most of the records.",
            [
                Query('sum(imgdiff_consumer_lag_records{stage=~"$stage"})', "all partitions"),
                Query('max(imgdiff_consumer_lag_records{stage=~"$stage"})', "longest partition"),
            ],
        ),
        Panel(
            "Rejects by reason",
            "Rejected inputs per second. docs/reasons.md says what each reason means and which setting decides; "
            "`imgdiff dead-letters show` has the scores of each.",
            [_rate("imgdiff_rejects_total", "reason")],
            Unit.PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Failures by kind and reason",
            "Inputs that could not be worked on, per second; no data is good news. invalid: look at who writes to the "
            "input topic, or at the store. poison: look at the traceback in the dead letter.",
            [
                Query(
                    'sum by (kind, reason) (rate(imgdiff_failures_total{stage=~"$stage"}[$__rate_interval])) > 0',
                    "{{kind}}: {{reason}}",
                )
            ],
            Unit.PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Seconds by phase",
            "Seconds per second of all threads and workers. stage high: the models are the limit, add workers. wait high: "
            "the stage before is the limit. store or commit high: the store or the broker is slow. prefetch near the "
            "number of its threads: pictures come slowly.",
            [_rate("imgdiff_phase_seconds_total", "phase")],
            stacked=True,
        ),
        Panel(
            "Batch size",
            "Records per batch. Far below the setting batch_size with lag: the feeding is slow, see prefetch; after "
            "running out of memory a worker goes on with smaller batches.",
            _quantiles("imgdiff_batch_records"),
        ),
        Panel(
            "Batch duration",
            f"Time in the stage per batch. Above the line ({RUNTIME.drain_budget_s:.0f} s, the default of "
            "runtime.drain_budget_s) a batch is dropped and done again when its partition moves: raise the budget, or "
            "lower batch_size.",
            _quantiles("imgdiff_batch_duration_seconds"),
            Unit.SECONDS,
            thresholds=[Threshold(RUNTIME.drain_budget_s, Colour.WARNING)],
        ),
        Panel(
            "Record age",
            "How old inputs are when their outcome commits. Steadily growing: the stage can not keep up.",
            _quantiles("imgdiff_record_age_seconds"),
            Unit.SECONDS,
        ),
        Panel(
            "Records in flight",
            "Fetched and neither committed nor dropped, of all workers. It is bounded; standing still above 0 while "
            "nothing is committed means that a worker waits: see retries and transactions.",
            [Query('sum(imgdiff_records_in_flight{stage=~"$stage"})', "in flight")],
        ),
        Panel(
            "Records dropped",
            "Fetched or worked on in vain, per second, because the partition went elsewhere; somebody does them again. "
            "More than a little beside a rebalance: see rebalances and failed transactions.",
            [Query('sum(rate(imgdiff_records_dropped_total{stage=~"$stage"}[$__rate_interval]))', "dropped")],
            Unit.PER_SECOND,
        ),
        Panel(
            "Retries by action",
            "What was tried again because something was unreachable, per second. Lasting: the store or a model endpoint "
            "is away; the log names it. Work goes on by itself when it is back.",
            [_rate("imgdiff_retries_total", "action")],
            Unit.PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Circuit open",
            "Workers that commit nothing because most of the last records failed alike: a model, an endpoint or a version "
            "is broken. Their /readyz and log name the error. Mended, work goes on by itself; with "
            "runtime.accept_failures each record becomes a dead letter instead.",
            [Query('sum(imgdiff_circuit_open{stage=~"$stage"})', "open")],
            thresholds=[Threshold(1, Colour.BAD)],
        ),
        Panel(
            "Transactions by result",
            "Per second. failed: the broker was away or refused; the log says why, and the work is repeated. skipped: the "
            "partitions were gone before the commit.",
            [_rate("imgdiff_transactions_total", "result")],
            Unit.PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Transaction duration",
            f"From begin to commit. Above the line ({RUNTIME.transaction_timeout_s:.0f} s, the default of "
            "runtime.transaction_timeout_s) the broker aborts it: look at the broker, its disks and the network.",
            _quantiles("imgdiff_transaction_duration_seconds"),
            Unit.SECONDS,
            thresholds=[Threshold(RUNTIME.transaction_timeout_s, Colour.BAD)],
        ),
        Panel(
            "Rebalances by event",
            "Per second. A few when workers come and go. lost: the group took a worker for dead, which then was stuck or "
            "cut off for longer than runtime.session_timeout_s.",
            [_rate("imgdiff_rebalances_total", "event")],
            Unit.PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Assigned partitions",
            "Of each worker, which should be nearly alike; together they are all partitions of the topic. Fewer "
            "together: nobody works on some of them, as while a session runs out.",
            [
                Query('sum by (instance) (imgdiff_assigned_partitions{stage=~"$stage"})', "{{instance}}"),
                Query('sum(imgdiff_assigned_partitions{stage=~"$stage"})', "together"),
            ],
        ),
        Panel(
            "Worker processes",
            "Up and ready. Up without ready: see /readyz.",
            [
                Query('count(imgdiff_build_info{stage=~"$stage"})', "up"),
                Query('sum(imgdiff_worker_ready{stage=~"$stage"})', "ready"),
            ],
        ),
        Panel(
            "Age of worker processes",
            "Time since each worker started. A saw-tooth is a worker that dies again and again: its log says why, its "
            "exit code too (70 device, 75 fenced, 78 configuration).",
            [Query('time() - max by (instance) (imgdiff_worker_start_time_seconds{stage=~"$stage"})', "{{instance}}")],
            Unit.SECONDS,
        ),
    ],
    repeat="stage",
)

STREAM = Dashboard(
    uid="imgdiff-stream",
    title="Img-Diff stream",
    description="Throughput, lag, rejects and time of every stage. Each panel's description says what to do.",
    variables=[Variable("stage", "Stage", WORKERS)],
    rows=[OVERVIEW, PER_STAGE],
)
