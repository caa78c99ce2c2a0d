"""What all records have in common."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import StringConstraints

from schemas.base import Frozen
from schemas.ids import MAX_ID_LENGTH, record_id
from schemas.images import ImageRef, NewImage
from schemas.trail import TrailStep

RecordId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH)]
MAX_TEXT_LENGTH = 8_192
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_LENGTH)]

Fields = dict[str, Any]
Upcast = Callable[[Fields], Fields]
"""Makes the fields of one version of a record those of the next. A KeyError says which field is not there."""

ChildT = TypeVar("ChildT", bound="Record")


class Record(Frozen):
    """A record of one topic. Its own `id`, the id of the caption that it comes from, and its trail."""

    topic: ClassVar[str]
    version: ClassVar[int]
    upcasts: ClassVar[Mapping[int, Upcast]] = {}
    """By each older version: how it becomes the next. Not inherited, as a record that extends another has versions of
    its own."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.upcasts = cls.__dict__.get("upcasts", {})
        older = set(range(1, getattr(cls, "version", 1)))
        if set(cls.upcasts) != older:
            raise TypeError(
                f"{cls.__name__}: `upcasts` from {sorted(cls.upcasts)}, expected one from every older version: {sorted(older)}"
            )

    id: RecordId
    caption_id: RecordId
    trail: tuple[TrailStep, ...] = ()

    @classmethod
    def schema_name(cls) -> str:
        """What the `schema` header says of this type, e.g. `pairs/1`."""
        return f"{cls.topic}/{cls.version}"

    def images(self) -> dict[str, ImageRef]:
        """The pictures that this record refers to, by field name."""
        fields = image_fields(type(self))
        return {name: getattr(self, name) for name in fields} if fields else {}

    def with_images(self, stored: Mapping[str, ImageRef]) -> Self:
        """This record with the stored pictures in place of the new ones. Raises KeyError for one that was not emitted."""
        new = {name: stored[image.name] for name, image in self.images().items() if isinstance(image, NewImage)}
        return self.model_copy(update=new) if new else self

    def derive(self, kind: type[ChildT], index: int, **fields: Any) -> ChildT:
        """The `index`-th record of the next kind made from this one: shared fields carried over, `fields` added."""
        inherited = {name: getattr(self, name) for name in _shared_fields(type(self), kind)}
        return kind(id=record_id(kind.topic, self.id, index), **(inherited | fields))


@cache
def _shared_fields(parent: type[Record], kind: type[Record]) -> tuple[str, ...]:
    """The names of the fields that a record of `kind` takes over from its parent."""
    return tuple(name for name in parent.model_fields if name in kind.model_fields and name != "id")


@cache
def image_fields(kind: type[Record]) -> tuple[str, ...]:
    """The names of the fields of a record type that refer to pictures."""
    return tuple(name for name, field in kind.model_fields.items() if field.annotation is ImageRef)
