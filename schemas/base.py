"""The base of every value that travels: immutable, and closed against unknown fields."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value. An unknown field is an error: a new field means a new schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
