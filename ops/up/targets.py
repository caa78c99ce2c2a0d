"""The file in which Prometheus finds this machine's workers (`file_sd_configs`)."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from common.runtime.errors import ConfigurationError
from ops.up.programs import WorkerProgram


@contextmanager
def prometheus_targets(path: Path, host: str, workers: Sequence[WorkerProgram]) -> Iterator[None]:
    """Name the workers in `path` for as long as the block runs. Raises ConfigurationError when it can not be written."""
    groups = [
        {"targets": [f"{host}:{worker.port}"], "labels": {"worker": worker.worker, "process": worker.program.name}}
        for worker in workers
    ]
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(groups, indent=2) + "\n")
        aside.replace(path)  # Prometheus must never read half a file
    except OSError as error:
        raise ConfigurationError(f"targets file {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
