"""The base of every value that travels: immutable, and closed against unknown fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_LARGEST = 2**63 - 1
"""What msgpack, Parquet and every language's readers hold: a float such as 1e308 is a whole number too."""

Count = Annotated[int, Field(ge=0, le=_LARGEST)]
"""A whole number of things: none, or some."""
Positive = Annotated[int, Field(ge=1, le=_LARGEST)]
"""A whole number of things: at least one."""


class Frozen(BaseModel):
    """An immutable value. An unknown field is an error: a new field means a new schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
