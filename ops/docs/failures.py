"""`docs/failures.md`: what can go wrong, what one sees of it, what happens by itself, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from common.runtime.exits import ExitCode
from ops.docs.markdown import code, page, table
from schemas.dead_letters import DeadLetterKind, PoisonReason
from schemas.invalid import InvalidReason

INTRODUCTION = """\
What a worker does about everything that can go wrong. Whatever it is, each input has one outcome in the end, and the counters
agree: what was not committed is done again, by whoever owns the partition next. In the log, at `/readyz` and at `/metrics`
it looks as said here. [Reasons](reasons.md) says what to do about each dead letter, [metrics](metrics.md) what each number
means, [settings](settings.md) how to set what is named here."""

EXITS = """\
A restart helps after 1, 70 and 75, with backoff; not after 0, 64 and 78. `imgdiff up` restarts whatever ends, with growing
pauses; only a 78 at a worker's first start stops everything. Docker's `restart: on-failure` restarts after every code but 0."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What an operator sees. `log` is a part of the line; `ready` is false where the worker says that it is not."""

    log: str = ""
    ready: bool = True
    metric: str = ""
    exits: ExitCode | None = None
    kind: DeadLetterKind | None = None
    reasons: Sequence[StrEnum] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A row: what happens, its signs, what the runtime does, what a person should do."""

    what: str
    does: str
    remedy: str
    signs: Signs = field(default_factory=Signs)


RECORDS: Sequence[Failure] = (
    Failure(
        "Quality control says no",
        "The input goes to `<worker>.rejected` with its scores. No error.",
        "Nothing; to tune a threshold, `imgdiff dead-letters what-if`.",
        Signs(metric="imgdiff_rejects_total", kind=DeadLetterKind.REJECTED),
    ),
    Failure(
        "Bytes that are no record, an unknown schema, a picture that is absent or broken though the store answers",
        "Once to `<worker>.failed`, no retry. Its neighbours go on.",
        "Find the sender, or what deletes from the store; then send again.",
        Signs(metric="imgdiff_failures_total", kind=DeadLetterKind.INVALID, reasons=tuple(InvalidReason)),
    ),
    Failure(
        "The stage raises an error on a record, for example because a model endpoint refuses it or sends no usable reply; or "
        "something that nobody foresaw goes wrong where a record is decoded",
        "The batch is split until the culprit is alone; after `runtime.max_attempts` it goes to `<worker>.failed` with the "
        "traceback. What can not be decoded goes there at once. Its neighbours go on.",
        "Read the traceback: a fault of the program or of a model. Send again with a version that is mended.",
        Signs(
            log="splitting the batch",
            metric="imgdiff_failures_total",
            kind=DeadLetterKind.POISON,
            reasons=(PoisonReason.EXCEPTION,),
        ),
    ),
    Failure(
        "The device has no memory left",
        "The batch is halved and its size remembered; a record that does not fit alone goes to `<worker>.failed`.",
        "Lower `batch_size` of the stage to spare the tries, or use a larger device.",
        Signs(
            log="out of memory with",
            metric="imgdiff_failures_total",
            kind=DeadLetterKind.POISON,
            reasons=(PoisonReason.OUT_OF_MEMORY,),
        ),
    ),
    Failure(
        "The process has no memory left to decode a record, to work on it, or to store what was made of it",
        "Decoding and storing are tried again for up to half a minute, batches are halved. Then the process ends, and its "
        "successor works on one record at a time; one that does not fit even then goes to `<worker>.failed`, as "
        "`out_of_memory`.",
        "Raise the limit of the process, or lower `batch_size` of the stage or `runtime.prefetch_batches`.",
        Signs(log="no memory to", ready=False, metric="imgdiff_retries_total", exits=ExitCode.OTHER),
    ),
    Failure(
        "What a stage makes does not fit into a message",
        "The input goes to `<worker>.failed`.",
        "Bound what the model returns.",
        Signs(metric="imgdiff_failures_total", kind=DeadLetterKind.POISON, reasons=(PoisonReason.OUTPUT_TOO_LARGE,)),
    ),
    Failure(
        "Most of the last records fail alike: 16 of 20, with one class of error, records that are invalid left out",
        "The circuit opens: a batch is tried every `runtime.circuit_pause_s`, and nothing of it is committed while most of it "
        "fails alike. Only batches of fewer than four records cost up to three dead letters first.",
        "Mend the model, the endpoint or the version; work goes on by itself. With `runtime.accept_failures` each becomes a "
        "dead letter.",
        Signs(log="circuit open", ready=False, metric="imgdiff_circuit_open"),
    ),
    Failure(
        "The process dies (SIGKILL, out of memory, power, a bug in a library) with records at work: decoded, waiting, in the "
        "stage, stored or committed",
        "Its successor finds the crash marks in the object store, and works on one record at a time until all that had been "
        "fetched is done. Nothing is held against a record that was not alone.",
        "Nothing. To know why it died: the supervisor's log, the kernel's log.",
        Signs(log="a worker died over offsets"),
    ),
    Failure(
        "Twice, a record kills its process or hangs (in a decoder, in the stage or while it is stored) while it is the only "
        "one in it",
        "It goes to `<worker>.failed` without being tried again. Orderly exits count for nothing.",
        "Try it where a crash does no harm: `imgdiff dead-letters show` saves it.",
        Signs(
            log="while this record was the only one in it",
            metric="imgdiff_failures_total",
            kind=DeadLetterKind.POISON,
            reasons=(PoisonReason.CRASH,),
        ),
    ),
)

OUTSIDE: Sequence[Failure] = (
    Failure(
        "The object store or a model endpoint is away: refused, time-out, 429, 5xx, disk full",
        "Retried in place, with growing pauses up to `runtime.retry_max_s`, and not before an endpoint's `Retry-After` "
        "within that bound, for as long as it takes. Never a dead letter. A batch that has waited for twelve hours is done "
        "again: `imgdiff blobs gc` may have removed what was stored of it.",
        "Bring it back; work goes on by itself.",
        Signs(log="trying again in up to", ready=False, metric="imgdiff_retries_total"),
    ),
    Failure(
        "The broker is away for less than `runtime.broker_patience_s`",
        "Waited for: what is open is settled when it is back, what was not committed is done again.",
        "Bring it back; work goes on by itself.",
        Signs(log="no transactional producer yet", ready=False, metric="imgdiff_transactions_total"),
    ),
    Failure(
        "The broker is away for longer",
        "The process ends.",
        "Bring it back, then start the worker, or leave it to its supervisor.",
        Signs(log="the broker was away for longer than", exits=ExitCode.OTHER),
    ),
    Failure(
        "The broker refuses a transaction: a rebalance has moved the partitions, a coordinator has moved",
        "Nothing in memory is trusted: a new producer, offsets and counters read again, work repeated from there.",
        "Nothing, unless it lasts.",
        Signs(log="transaction failed, starting anew", metric="imgdiff_transactions_total"),
    ),
    Failure(
        "The broker keeps refusing the same records, for example because one is larger than its topic takes",
        "Tried again with growing pauses of up to 10 s. Nothing is committed meanwhile.",
        "The line names topic and size: give the topic the `max.message.bytes` that `imgdiff topics create` gives it; work "
        "goes on by itself.",
        Signs(log="transactions of the same records failed", ready=False, metric="imgdiff_transactions_total"),
    ),
    Failure(
        "The group takes a worker for dead that is not: frozen, or without network, for `runtime.session_timeout_s`",
        "What it had begun is dropped, others do it again; it joins anew.",
        "Nothing, unless it lasts: then the machine is short of CPU.",
        Signs(log="the group took this worker for dead", metric="imgdiff_rebalances_total"),
    ),
    Failure(
        "Two processes have one name, or a transaction took longer than `runtime.transaction_timeout_s`",
        "The older one ends; nothing of it is committed.",
        "Give each process a name of its own (`IMGDIFF_INSTANCE`).",
        Signs(log="another process", exits=ExitCode.FENCED),
    ),
    Failure(
        "Records expired before they were read, while no worker ran or while one was behind",
        "The worker does not go on over the gap.",
        "Raise the topic's retention; accept the gap with `runtime.accept_loss`.",
        Signs(log="offsets expired unread", exits=ExitCode.CONFIGURATION),
    ),
    Failure(
        "The broker has forgotten what a group has committed: it was away for longer than `offsets.retention.minutes`",
        "The worker does not begin anew where the log has lost its beginning, or the stage's topics hold what was made of it. "
        "The dataset writes files, so for it only a lost beginning and dead letters are noticed.",
        "Set the group's offsets (`kafka-consumer-groups --reset-offsets`), or begin anew with `runtime.accept_loss`, also "
        "with what was done before. Then let the broker keep offsets for longer than records.",
        Signs(log="nothing is committed, but", exits=ExitCode.CONFIGURATION),
    ),
    Failure(
        "A committed offset lies beyond the end of the log: the topic was made anew, or the broker has lost what it had stored",
        "The worker does not guess where to go on.",
        "Set the group's offsets, with all its workers stopped (`kafka-consumer-groups --reset-offsets`).",
        Signs(log="the log ends at", exits=ExitCode.CONFIGURATION),
    ),
    Failure(
        "A partition's log is damaged: a checksum does not match",
        "The worker reads nothing more of that partition until it is assigned anew, and goes on with the others. What lies "
        "before the damage is worked on.",
        "Mend the broker's disk; where there is no whole replica, set the group's offset of that partition behind the damaged "
        "batch, with all its workers stopped (`kafka-consumer-groups --reset-offsets`).",
        Signs(log="can not be read from offset", ready=False),
    ),
    Failure(
        "A topic is given partitions that the stage's other topics do not have",
        "Outputs go to the partition of their input. The worker learns of new ones at its next start or within five minutes; "
        "while it runs it waits a minute for the other topics to get them, too, and then ends. Nothing of the new ones is "
        "committed.",
        "Give all topics of the stream the same number; then start the workers. What came meanwhile is worked on.",
        Signs(log="all topics of a stream need the same number", exits=ExitCode.CONFIGURATION),
    ),
)

PROCESS: Sequence[Failure] = (
    Failure(
        "SIGTERM or SIGINT",
        "Takes nothing in, finishes what has begun within `runtime.drain_budget_s`, commits, leaves the group. A second signal "
        "ends it at once.",
        "Nothing.",
        Signs(log="stopping: finishing what has begun", ready=False, exits=ExitCode.DONE),
    ),
    Failure(
        "A command that is not understood",
        "Says what is wrong with it, and does nothing.",
        "Read its `--help`.",
        Signs(exits=ExitCode.USAGE),
    ),
    Failure(
        "A setting, a credential, a right, a topic or the store is not what it has to be",
        "Ends with one line that names it, at the start wherever that can be known.",
        "Put right what the line names. `imgdiff settings` shows where each value comes from.",
        Signs(exits=ExitCode.CONFIGURATION),
    ),
    Failure(
        "The accelerator is lost (illegal access, reset), or has no room for a batch of fixed shape",
        "Ends at once without commit: its state is undefined. No record is blamed.",
        "Nothing, unless it lasts: then look at the device.",
        Signs(exits=ExitCode.DEVICE),
    ),
    Failure(
        "A thread hangs: one call of the stage for longer than `runtime.stage_timeout_s`, a shard of the dataset for "
        "an hour, anything else for some minutes",
        "`/livez` fails, the stacks of all threads go to the log once, the process ends. In prefetch, stage and store it "
        "counts as a crash.",
        "Read the stacks. For a slow model raise `runtime.stage_timeout_s`.",
        Signs(log="has not moved for", exits=ExitCode.OTHER),
    ),
    Failure(
        "A transaction hangs for longer than `runtime.transaction_watchdog_s` although the broker can be reached",
        "The stacks of all threads go to the log, the process ends; the committed offsets say what took effect.",
        "Nothing, unless it lasts: then look at the broker. A topic that was deleted ends like this, too; the next start names "
        "it.",
        Signs(log="a transaction hangs", exits=ExitCode.OTHER),
    ),
)

SECTIONS = {"Records": RECORDS, "Around the worker": OUTSIDE, "The process": PROCESS}
FAILURES: Sequence[Failure] = (*RECORDS, *OUTSIDE, *PROCESS)


def failures_page() -> str:
    """Every failure with its signs."""
    return page(
        "Failures",
        INTRODUCTION,
        *(block for title, rows in SECTIONS.items() for block in (f"## {title}", _table(rows))),
        "## Exit codes",
        EXITS,
        table(
            ["Code", "When"],
            [
                [code(str(exit_code.value)), "; ".join(row.what for row in FAILURES if row.signs.exits is exit_code)]
                for exit_code in ExitCode
            ],
        ),
    )


def _table(rows: Sequence[Failure]) -> str:
    return table(
        ["What happens", "What one sees", "What the worker does", "What to do"],
        [[row.what, _seen(row.signs), row.does, row.remedy] for row in rows],
    )


def _seen(signs: Signs) -> str:
    parts = [
        f"log: {code(signs.log)}" if signs.log else "",
        "" if signs.ready else "not ready",
        code(signs.metric),
        f"exit {signs.exits.value}" if signs.exits is not None else "",
        f"dead letter {code(signs.kind)}" if signs.kind is not None else "",
        ", ".join(code(reason) for reason in signs.reasons),
    ]
    return "; ".join(filter(None, parts))
