"""The JSON Schemas of config.yaml, tenants.yaml and catalog files, for editors that complete and check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from gateway.config.rules_servers import KEYS_OF_MODE
from gateway.config.servers import Backend

if TYPE_CHECKING:
    from pydantic_core.core_schema import DataclassSchema, NullableSchema, WithDefaultSchema


def json_schema(root: type) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of files of which a `root` is made."""
    return TypeAdapter(root).json_schema(schema_generator=_WithoutNull, mode="validation")


class _WithoutNull(GenerateJsonSchema):
    """No key takes null: one that is empty is refused, and one that is left out has its default."""

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {name: _pruned(one) for name, one in found.items() if (name, one) != ("default", None)}

    def dataclass_schema(self, schema: DataclassSchema) -> JsonSchemaValue:
        found = super().dataclass_schema(schema)
        return found | {"oneOf": list(map(_of_mode, KEYS_OF_MODE))} if issubclass(schema["cls"], Backend) else found


def _of_mode(mode: str) -> JsonSchemaValue:
    """Return what a server of this mode must have, and what of the other mode it must not."""
    needed, *_ = KEYS_OF_MODE[mode]
    others = [key for other, keys in KEYS_OF_MODE.items() if other != mode for key in keys]
    return {
        "properties": {"mode": {"const": mode}, **dict.fromkeys(others, False)},
        "required": [needed],
    }


def _pruned(value: Any) -> Any:
    """Return a default without the keys that have none themselves."""
    if not isinstance(value, dict):
        return value
    return {name: _pruned(one) for name, one in value.items() if one is not None}
