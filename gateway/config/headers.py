"""The values of headers and environment variables that servers are given: constant, or filled for each caller."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from gateway.config.references import Claim, Context, Part, parts_of
from gateway.config.values import EVERY_TENANT, Secret
from gateway.errors import GatewayError
from gateway.model import Principal

# What stands in a header as it is; all else of a principal is percent-encoded (RFC 3986, UTF-8), so that no subject
# whatsoever can end a header or look like a second value in it.
SAFE = ":@/"
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_VARIABLE = re.compile(r"[^\0]*", re.DOTALL)


class CallerUnnamed(GatewayError):
    """A server wants to be told the tenant of each caller, and this caller has none."""


@dataclass(frozen=True, slots=True)
class Template:
    """A value that is not known before the call; `reference` is what the file says."""

    reference: str
    parts: tuple[Part, ...] = field(repr=False)

    def fill(self, caller: Principal) -> str:
        """Return the value for a verified caller; raises CallerUnnamed where it has no tenant and one is wanted."""
        return "".join(_filled(part, caller) for part in self.parts)


Value: TypeAlias = str | Secret | Template


def _filled(part: Part, caller: Principal) -> str:
    if isinstance(part, Secret):
        return part.reveal()
    if not isinstance(part, Claim):
        return part
    said = caller.for_tenant if part is Claim.TENANT else caller.subject
    if said is None:
        raise CallerUnnamed("the caller has no tenant to tell the server of")
    return quote(said, safe=SAFE)


def filled(values: Mapping[str, Value], caller: Principal | None) -> dict[str, str]:
    """Return headers or variables as they are sent for this caller; raises CallerUnnamed.

    Without a caller, for the gateway's own errands, those that would name one are left out.
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Secret):
            found[name] = value.reveal()
        elif isinstance(value, str):
            found[name] = value
        elif caller is not None:
            found[name] = value.fill(caller)
    return found


@dataclass(frozen=True, slots=True)
class Naming:
    """Headers that depend on whose request it is, beside those that go with every request.

    `members` has them for the tenants that have an entry of their own, and for all others where `*` has one; `rest`
    for everybody else.
    """

    rest: Mapping[str, Value] = field(default_factory=dict)
    members: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def of(self, caller: Principal) -> dict[str, str]:
        """Return them for a verified caller; raises CallerUnnamed."""
        values = self.rest
        if self.members and (tenant := caller.for_tenant) is not None:
            values = self.members.get(tenant, self.members.get(EVERY_TENANT, values))
        return filled(values, caller)


def naming(values: Mapping[str, Value], everybody: Mapping[str, Value]) -> dict[str, Value]:
    """Return those of a tenant's headers that a request without a caller does not have, or has another value of."""
    return {
        name: value for name, value in values.items() if isinstance(value, Template) or everybody.get(name) != value
    }


def header_value(text: str, context: Context) -> Value:
    """Return what a header is to hold; raises ValueError for what no header may have (RFC 9110, section 5.5)."""
    return _value(text, parts_of(text, context, tuple(Claim)), _FIELD_VALUE, "a line break or another character")


def variable_value(text: str, context: Context) -> Value:
    """Return what an environment variable is to hold; raises ValueError."""
    return _value(text, parts_of(text, context, (Claim.TENANT,)), _VARIABLE, "a NUL character")


def _value(text: str, parts: tuple[Part, ...], allowed: re.Pattern[str], forbidden: str) -> Value:
    known = "".join(part.reveal() if isinstance(part, Secret) else part for part in parts)
    if not allowed.fullmatch(known):
        raise ValueError(f"holds {forbidden} that it may not have")
    if any(isinstance(part, Claim) for part in parts):
        return Template(text, parts)
    return Secret(text, known) if any(isinstance(part, Secret) for part in parts) else text


def _read_by(parse: Callable[[str, Context], Value]) -> PlainValidator:
    def read(value: Any, info: ValidationInfo) -> Value:
        if not isinstance(value, str):
            raise ValueError("must be text in quotes")
        return parse(value, info.context if isinstance(info.context, Context) else Context(Path(), {}))

    return PlainValidator(read)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else value.reference


_TEXT = WithJsonSchema({"type": "string"})
HeaderValue = Annotated[Value, _read_by(header_value), PlainSerializer(_shown), _TEXT]
EnvValue = Annotated[Value, _read_by(variable_value), PlainSerializer(_shown), _TEXT]
