"""The workers by name. Each is loaded only when it is asked for."""

import importlib
from typing import Any

from common.runtime.spec import WorkerSpec
from common.settings import section_of
from schemas.topics import ROUTES

WORKERS = tuple(route.worker for route in ROUTES)


class UnknownWorkerError(Exception):
    """There is no such worker; the message names those that there are."""

    def __init__(self, found: str) -> None:
        super().__init__(f"no worker {found!r}, expected one of {', '.join(WORKERS)}")


def module_of(worker: str) -> str:
    """The package of a worker, which is also how it runs: `python -m workers.boxes`. Raises UnknownWorkerError."""
    if worker not in WORKERS:
        raise UnknownWorkerError(worker)
    return f"workers.{section_of(worker)}"


def spec_of(worker: str) -> WorkerSpec[Any]:
    """What a worker says about itself. Raises UnknownWorkerError."""
    spec: WorkerSpec[Any] = importlib.import_module(module_of(worker)).WORKER
    return spec
