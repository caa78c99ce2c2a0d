"""Options of every command that runs a worker. Imports nothing heavy, so that help answers at once."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click


def compute_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command `--device` and `--dtype`, short for two settings; it gets them as its first argument."""

    @click.option("--device", help="Short for --set compute.device=DEVICE: cpu, cuda, or one such as cuda:1.")
    @click.option("--dtype", help="Short for --set compute.dtype=DTYPE: float32, float16 or bfloat16.")
    @wraps(command)
    def with_compute(*args: Any, device: str | None, dtype: str | None, **kwargs: Any) -> int:
        given = {"device": device, "dtype": dtype}
        return command(tuple(f"compute.{key}={value}" for key, value in given.items() if value), *args, **kwargs)

    return with_compute
