"""References to pictures. Pixels never travel through Kafka: a record names a picture by its digest (claim check)."""

from typing import Annotated

from pydantic import Field, StringConstraints

from schemas.base import Frozen, Positive

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ImageRef(Frozen):
    """A stored picture: the SHA-256 of its encoded bytes, and its size in pixels."""

    sha256: Sha256
    width: int = Field(ge=1, le=65_536)
    height: int = Field(ge=1, le=65_536)
    byte_size: Positive
    media_type: str = "image/png"


class NewImage(ImageRef):
    """A picture that a stage has drawn and the runtime has yet to store; `name` finds it among the emitted pictures.

    Never encoded: the runtime puts the stored picture's reference in its place.
    """

    name: str

    @classmethod
    def named(cls, name: str) -> "NewImage":
        return cls(name=name, sha256="0" * 64, width=1, height=1, byte_size=1)
