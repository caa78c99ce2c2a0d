"""A run: a broker, a reference, streams that suffer one fault after the other, and what was found."""

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ops.ingest.readers import Reading
from ops.ingest.sources import open_source
from schemas.counters import Counters
from schemas.topics import INGEST
from tests.chaos import plan
from tests.chaos.broker import ChaosBroker
from tests.chaos.faults import BROKER_FAULTS, Fault, NotStruckError, Scene, SharedFault, Tolerated
from tests.chaos.outcomes import Finding, Outcome, Outcomes, Wrong, differences
from tests.chaos.plan import Leg
from tests.chaos.stream import ChaosStream, UnsettledError, settings
from tests.conftest import stopped_at_the_end

CONTROL = "control"
"""The captions of the round without a fault."""

READABLE_S = 15.0
"""How long the last outcomes may take to be readable: a commit returns before its markers are written."""

STACKS_S = 1.0
"""How long a process may take to write down where its threads are."""

REFERENCE_S = 600.0
"""How long the undisturbed stream may take for all captions."""

ByStage = Mapping[str, Mapping[str, Outcome]]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one fault in one stream. `fault` is None where nothing was done to it: the control.

    `recovered_s` is the time from the end of the fault, or from the strike where a process ended, until the stream had
    settled; None where the fault did not strike, or the stream did not settle.
    """

    stream: str
    fault: Fault | None
    recovered_s: float | None
    findings: Sequence[Finding]


class Reference:
    """What the undisturbed stream made of all captions."""

    def __init__(self, outcomes: ByStage, sources: Mapping[str, str]) -> None:
        """`sources` says by which name ingest knows a batch of captions."""
        self._outcomes = outcomes
        self._sources = sources

    def of(self, batches: Sequence[str]) -> ByStage:
        """What was made of these batches."""
        wanted = {self._sources[batch] for batch in batches}
        return {
            worker: {
                name: outcome for name, outcome in outcomes.items() if outcome.caption.rpartition(":")[0] in wanted
            }
            for worker, outcomes in self._outcomes.items()
        }


class Patient:
    """A stream with what it has been fed and what it lost on purpose so far."""

    def __init__(self, stream: ChaosStream, reference: Reference, seed: int, streams: int) -> None:
        self.stream = stream
        self.retired = False
        self._outcomes = Outcomes(stream.topics)
        self._reference = reference
        self._seed = seed
        self._streams = streams
        self._batches: list[str] = []
        self._removed: dict[str, str] = {}

    def control(self) -> Trial:
        """A round without a fault, once all processes are there."""
        self.stream.wait("all workers to be members of their groups", self.stream.all_joined)
        began = time.monotonic()
        self._batches.append(CONTROL)
        self.stream.feed({CONTROL: plan.captions(self._seed, CONTROL)})
        self.stream.wait("the undisturbed stream to settle", self.stream.settled)
        took_s = time.monotonic() - began
        self._look()
        return self._trial(None, took_s, [])

    def suffer(self, fault: Fault, shared: SharedFault | None = None) -> Trial:
        """A round with a fault, and what is wrong after it. A stream with something wrong is left alone from then on."""
        batch = plan.batch_of(fault, self._streams)
        self._batches.append(batch)
        scene = Scene(self.stream, fault, plan.captions(self._seed, batch), self._reference.of([batch]), shared)
        self.stream.files.clear()
        recovered_s: float | None = None
        findings = []
        try:
            try:
                fault.kind.inject(scene)
                recovered_s = self.stream.wait("the stream to settle", self.stream.settled)
            except NotStruckError as error:
                say(f"{self.stream.name}: {fault}: no occasion: {error}")
                self.stream.wait("the stream to settle", self.stream.settled)
        except UnsettledError as error:
            recovered_s = None
            findings.append(Finding(Wrong.UNSETTLED, str(error)))
            self._write_stacks()
        self._removed |= scene.removed
        self._look()
        if scene.tolerated is not None:
            self._removed |= self._taken_out(batch, scene.tolerated)
        trial = self._trial(fault, recovered_s, findings)
        self.retired = bool(trial.findings)
        if not self.retired:
            self.stream.stop_extras()
        return trial

    def end(self) -> Trial:
        """Stop the stream's processes, and say whether they did."""
        self.stream.end()
        by_hand = [Finding(Wrong.BY_HAND, "a process had to be killed")] * self.stream.ended_by_hand
        return Trial(self.stream.name, None, None, by_hand)

    def _trial(self, fault: Fault | None, recovered_s: float | None, findings: Sequence[Finding]) -> Trial:
        """With everything that is wrong now."""
        found = [*findings, *self._outcomes.findings(self._counters())]
        found += differences(self._outcomes.outcomes(), self._reference.of(self._batches), self._removed)
        return Trial(self.stream.name, fault, recovered_s, found)

    def _taken_out(self, batch: str, tolerated: Tolerated) -> Mapping[str, str]:
        """The captions that a fault has taken out as it may; none where it has taken out more."""
        stage = tolerated.how.partition(".")[0]
        of_batch = {outcome.caption for outcome in self._reference.of([batch])[stage].values()}
        found = self._outcomes.outcomes()[stage].values()
        taken = {o.caption: o.refused for o in found if o.caption in of_batch and o.refused == tolerated.how}
        return taken if len(taken) <= tolerated.most else {}

    def _look(self) -> None:
        """Read what is new, until every input has an outcome."""
        self._outcomes.look()
        until = time.monotonic() + READABLE_S
        while self._outcomes.lost_any() and time.monotonic() < until:
            self.stream.pause(0.3)
            self._outcomes.look()

    def _counters(self) -> Mapping[str, Counters]:
        answers: list[Mapping[str, Counters]] = []

        def answered() -> bool:
            answer = self.stream.counters()
            answers.extend([] if answer is None else [answer])
            return bool(answers)

        self.stream.wait("the broker to answer", answered)
        return answers[-1]

    def _write_stacks(self) -> None:
        for member in self.stream.members:
            if member.worker != INGEST:  # which takes that signal for an end
                member.send(signal.SIGUSR1)
        time.sleep(STACKS_S)


class Harness:
    """Runs a plan in a folder of its own."""

    def __init__(self, seed: int, planned: Sequence[Fault], streams: int, folder: Path) -> None:
        self._seed = seed
        self._planned = planned
        self._streams = streams
        self._folder = folder
        self._broker = ChaosBroker(folder / "broker", streams + 1)
        self._began = time.monotonic()
        self._tried: set[int] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self) -> list[Trial]:
        """All of it. Whatever is wrong is in the trials, and in files in the folder."""
        trials: list[Trial] = []
        with stopped_at_the_end(self._folder / "broker"), self._broker.running() as address:
            reference = self._reference(address)
            with self._patients(address, reference, trials) as patients, ThreadPoolExecutor(self._streams) as pool:
                try:
                    trials += [self._told(trial) for trial in pool.map(Patient.control, patients)]
                    for leg in plan.legs(self._planned, self._streams):
                        trials += self._lanes(leg, patients, pool)
                        trials += self._of_the_broker(leg.broker, patients, pool) if leg.broker else []
                except BaseException:
                    self._over.set()  # the pool waits for what it has begun
                    raise
        return trials

    def _lanes(self, leg: Leg, patients: Sequence[Patient], pool: ThreadPoolExecutor) -> list[Trial]:
        def walk(patient: Patient, lane: Sequence[Fault]) -> list[Trial]:
            trials = []
            for fault in lane:
                if patient.retired or self._over.is_set():
                    break
                trials.append(self._told(patient.suffer(fault)))
            return trials

        return [trial for trials in pool.map(walk, patients, leg.lanes) for trial in trials]

    def _of_the_broker(self, fault: Fault, patients: Sequence[Patient], pool: ThreadPoolExecutor) -> list[Trial]:
        well = [patient for patient in patients if not patient.retired]
        chance = Random(fault.seed)
        shared = SharedFault(len(well), lambda: BROKER_FAULTS[fault.kind.name](self._broker, chance))
        return [self._told(trial) for trial in pool.map(lambda patient: patient.suffer(fault, shared), well)]

    def _reference(self, address: str) -> Reference:
        """All captions of the plan through a stream that nothing happens to."""
        batches = [CONTROL, *dict.fromkeys(plan.batch_of(fault, self._streams) for fault in self._planned)]
        began = time.monotonic()
        name = "reference"
        quick = settings(batch_records=32, delay_s=0.0)
        stream = ChaosStream(name, address, self._folder / name, self._broker.proxies[-1], quick)
        try:
            stream.start_all()
            stream.feed({batch: plan.captions(self._seed, batch) for batch in batches})
            stream.wait("the undisturbed stream to settle", stream.settled, REFERENCE_S)
            outcomes = Outcomes(stream.topics)
            outcomes.look()
            for finding in outcomes.findings(stream.counters()):
                raise AssertionError(f"the undisturbed stream is wrong already: {finding}")
            sources = {batch: self._source(batch) for batch in batches}
            say(f"reference: {len(batches)} batches in {time.monotonic() - began:.0f} s")
            return Reference(outcomes.outcomes(), sources)
        finally:
            stream.end()

    def _source(self, batch: str) -> str:
        path = self._folder / "batch.txt"
        path.write_text("".join(f"{caption}\n" for caption in plan.captions(self._seed, batch)))
        return open_source(path, Reading()).id

    @contextmanager
    def _patients(self, address: str, reference: Reference, trials: list[Trial]) -> Iterator[Sequence[Patient]]:
        patients: list[Patient] = []
        try:
            for number in range(self._streams):
                name = f"stream-{number}"
                stream = ChaosStream(name, address, self._folder / name, self._broker.proxies[number])
                patients.append(Patient(stream, reference, self._seed, self._streams))
                stream.start_all()
            yield patients
        finally:
            with ThreadPoolExecutor(self._streams) as pool:
                trials += [self._told(trial) for trial in pool.map(Patient.end, patients)]

    def _told(self, trial: Trial) -> Trial:
        """Say how it went, on standard error and where something is wrong in a file."""
        with self._lock:
            if trial.fault is not None:
                self._tried.add(trial.fault.number)
            what = str(trial.fault) if trial.fault else "no fault"
            took = f"recovered in {trial.recovered_s:.1f} s" if trial.recovered_s is not None else "-"
            wrong = f", WRONG: {trial.findings[0]} ({len(trial.findings)} findings)" if trial.findings else ""
            minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
            say(
                f"{minutes:3}:{seconds:02} {len(self._tried):4}/{len(self._planned)} {trial.stream}: {what}: {took}{wrong}"
            )
            if trial.findings:
                self._write(trial)
        return trial

    def _write(self, trial: Trial) -> None:
        folder = self._folder / "failures"
        folder.mkdir(exist_ok=True)
        name = f"{trial.fault.number}-{trial.stream}" if trial.fault else trial.stream
        again = f"--seed {self._seed} --streams {self._streams}" + (
            f" --fault {trial.fault.number}" if trial.fault else ""
        )
        lines = [
            f"{trial.fault or 'no fault'}, seed {self._seed}, stream {trial.stream}",
            f'again: make chaos ARGS="{again}"',
            f"logs: {self._folder / trial.stream / 'logs'}",
            "",
            *(f"{finding.wrong}: {finding.what}" for finding in trial.findings),
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def say(line: str) -> None:
    """Progress."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
