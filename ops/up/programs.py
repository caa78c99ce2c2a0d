"""A worker as a program for the supervisor."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from common.runtime import faults, instance
from common.runtime.errors import ConfigurationError
from ops.broker import network
from ops.supervisor import Program
from ops.workers import WORKERS, module_of

HTTP_PORT = "IMGDIFF_HTTP__PORT"
HOST_NAMES = (instance.VARIABLE, "POD_NAME")
"""Variables that name this machine's one worker; several on it need names of their own."""


@dataclass(frozen=True, slots=True)
class WorkerProgram:
    """One worker process: of which worker, the how-manieth, and where it answers /metrics."""

    worker: str
    number: int
    port: int
    program: Program


class WorkerPrograms:
    """Makes the programs of this machine's workers. No two get the same name or port."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str] = os.environ,
        devices: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`arguments` go to every worker: options for settings. The n-th of a worker's processes gets the n-th of its
        `devices`, and then the first again; without any it computes where its settings say."""
        self._arguments = tuple(arguments)
        self._devices = devices or {}
        self._environ = environ
        self._numbers: dict[str, int] = {}
        self._ports: set[int] = set()

    def next(self, worker: str) -> WorkerProgram:
        """One more of this worker. Raises UnknownWorkerError, and ConfigurationError when no port is free."""
        number = self._numbers[worker] = self._numbers.get(worker, 0) + 1
        command = (sys.executable, "-m", module_of(worker), *self._arguments, *self._device(worker, number))
        port = self._free_port()
        given = next((self._environ[name] for name in HOST_NAMES if self._environ.get(name)), None)
        own = {HTTP_PORT: str(port), **({instance.VARIABLE: f"{given}-{number}"} if given else {})}
        program = Program(
            name=f"{worker}.{number}",
            command=command,
            environment={**self._environ, **own},
            first_start_only=frozenset({faults.VARIABLE}),
        )
        return WorkerProgram(worker, number, port, program)

    def all(self, counts: Mapping[str, int]) -> Iterator[WorkerProgram]:
        """So many of each worker, one of those that `counts` leaves out, in the order of the stream."""
        for worker in WORKERS:
            for _ in range(counts.get(worker, 1)):
                yield self.next(worker)

    def _device(self, worker: str, number: int) -> Sequence[str]:
        devices = self._devices.get(worker)
        return ("--device", devices[(number - 1) % len(devices)]) if devices else ()

    def _free_port(self) -> int:
        for _ in range(100):
            port = network.any_free()
            if port is not None and port not in self._ports:
                self._ports.add(port)
                return port
        raise ConfigurationError(f"found no free port on {network.HOST} for a worker's metrics")
