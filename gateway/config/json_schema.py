"""The JSON Schema of config.yaml, for editors that complete and check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from gateway.config.schema import Config

if TYPE_CHECKING:
    from pydantic_core.core_schema import NullableSchema, WithDefaultSchema


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of config.yaml (draft 2020-12)."""
    return Config.model_json_schema(schema_generator=_WithoutNull, mode="validation")


class _WithoutNull(GenerateJsonSchema):
    """No key takes null: one that is empty is refused, and one that is left out has its default."""

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {name: _pruned(one) for name, one in found.items() if (name, one) != ("default", None)}


def _pruned(value: Any) -> Any:
    """Return a default without the keys that have none themselves."""
    if not isinstance(value, dict):
        return value
    return {name: _pruned(one) for name, one in value.items() if one is not None}
