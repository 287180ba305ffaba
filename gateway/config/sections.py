"""What a mapping of a file is made into: frozen, closed to unknown keys, and no key with nothing after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, dataclass_transform

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationInfo, field_validator

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

T = TypeVar("T")
CLOSED = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def section(cls: type[T]) -> type[T]:
    """Make a mapping of which a file may hold ten thousand: frozen, closed to unknown keys, and small in memory.

    Optional keys are `Maybe[…]`.
    """
    cls.__pydantic_config__ = CLOSED  # type: ignore[attr-defined]
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


class NotEmpty:
    """Refuses an optional key with nothing after it; None only stands for a key that is not there."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of what is not None."""
        nullable = handler(source)
        assert nullable["type"] == "nullable"
        schema: CoreSchema = nullable["schema"]
        return schema


Maybe = Annotated[T | None, NotEmpty()]


class Section(BaseModel):
    """A mapping of config.yaml: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, **CLOSED)

    @field_validator("*", mode="before")
    @classmethod
    def _filled(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse an optional key with nothing after it: `tls:` must not mean plain http."""
        if value is None and cls.model_fields[str(info.field_name)].default is None:
            raise ValueError("is empty; give it a value, or remove the key")
        return value
