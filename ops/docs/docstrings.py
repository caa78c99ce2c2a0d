"""The docstrings under the members of an enum. Python itself forgets them."""

import ast
import inspect
from enum import StrEnum
from itertools import pairwise
from textwrap import dedent


class UndocumentedError(Exception):
    """Something that people meet is not explained; the message names it."""


def explanations(kind: type[StrEnum]) -> dict[str, str]:
    """What each member means, by its value. Raises UndocumentedError."""
    [definition] = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, below in pairwise([*definition.body, ast.Pass()]):
        match statement, below:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    if missing := [member.name for member in kind if member.name not in texts]:
        raise UndocumentedError(f"{kind.__qualname__}.{missing[0]} has no docstring")
    return {member.value: texts[member.name] for member in kind}
