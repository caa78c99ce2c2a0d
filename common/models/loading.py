"""What the loaders of the model libraries raise over files that are missing, broken or of another model: one clear line.

Each library has its own errors, and most of them none of their own: what a checkpoint does to a loader can be almost
any exception. So all of them count as the files' fault; the first one stays as the cause.
"""

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from common.models.weights import Weights
from common.runtime.errors import ConfigurationError, DeviceLostError, OutOfMemoryError, TransientError, translated

_LONGEST = 300
"""Characters of a cause that are shown: some list every file or every tensor."""

_NAMED = 3
"""How many tensors are named of those that do not fit."""

_REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+)")
"""What a pickle asked for, in the words of torch's restricted unpickler."""


@contextmanager
def loading(weights: Weights, *files: str) -> Iterator[None]:
    """Around everything that reads the files of a model. `files` have to be there before anything else happens.

    Name there what the loader would do without: transformers takes the default architecture, with all its gigabytes,
    where `config.json` is missing.
    Raises ConfigurationError naming the model, the folder and the cause; where the device has no room for the weights,
    naming the settings that make them smaller. A device that is lost is no matter of the files: its error passes.
    """
    for name in files:
        weights.file(name)
    try:
        yield
    except (ConfigurationError, TransientError):
        raise
    except Exception as error:
        known = translated(error)
        if isinstance(known, DeviceLostError):
            raise
        if isinstance(known, OutOfMemoryError):
            raise ConfigurationError(
                f"weights of {weights.id} do not fit into the memory of the device: expected a `compute.dtype` of 16 "
                "bits, `compute.quantization=8bit` or `4bit` for a language model, or a `compute.device` with more room "
                f"({_cause(error)})"
            ) from error
        raise ConfigurationError(f"weights of {weights.id} in {weights.folder}: {_cause(error)}") from error


def check_complete(weights: Weights, info: Mapping[str, Any]) -> None:
    """Check what `from_pretrained(..., output_loading_info=True)` says about its work.

    transformers and diffusers only warn where a checkpoint lacks tensors, and draw them at random: a model that runs,
    and says nonsense. Raises ConfigurationError naming the first of them.
    """
    _refuse(weights, "lacks tensors of the model", info.get("missing_keys", ()))
    _refuse(weights, "has tensors of other shapes", (_name(key) for key in info.get("mismatched_keys", ())))
    _refuse(weights, "could not be read in part", info.get("error_msgs", ()))


def check_tokenizer(weights: Weights, tokenizer: Any, subfolder: str = "") -> None:
    """Check that a tokenizer of transformers was read from files of `subfolder`.

    Where there are none, transformers makes one that knows three tokens, and says nothing. Raises ConfigurationError.
    """
    names = sorted(set(type(tokenizer).vocab_files_names.values()) | {"tokenizer.json"})
    folder = weights.folder / subfolder
    if not any((folder / name).is_file() for name in names):
        raise ConfigurationError(
            f"weights of {weights.id}: no tokenizer in {folder}: expected one of {', '.join(names)}"
        )


def _refuse(weights: Weights, fault: str, keys: Iterable[str]) -> None:
    found = sorted(keys)
    if found:
        named = ", ".join(islice(found, _NAMED)) + (", ..." if len(found) > _NAMED else "")
        raise ConfigurationError(
            f"weights of {weights.id} in {weights.folder}: the checkpoint {fault} ({len(found)}): {named}"
        )


def _name(key: Any) -> str:
    """A mismatched key comes alone or with the two shapes."""
    return str(key if isinstance(key, str) else key[0])


def _cause(error: BaseException) -> str:
    """One line, in place of advice that no user should follow here, such as to unpickle without limits."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError):
        refused = _REFUSED_GLOBAL.search(text)
        said = f"a pickle that asks for {refused[1]}" if refused else "a broken pickle, or one that is not only tensors"
        return f"{said}: refused, only tensors are ever unpickled"
    if "ignore_mismatched_sizes" in text and "above report" in text:
        return "tensors of other shapes than its config.json says"
    return f"{type(error).__name__}: {_first_line(text)}"[:_LONGEST]


def _first_line(text: str) -> str:
    """The first line that says something; a heading with the line below it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = 1
    while said < len(lines) and lines[said - 1].endswith(":"):
        said += 1
    return " ".join(lines[:said]) or "no message"
