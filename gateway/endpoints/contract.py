"""The contract of the HTTP API, openapi.yaml beside this file: it is served, and requests are held to it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from gateway.errors import InvalidBody
from gateway.mcp import json
from gateway.mcp.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aiohttp import web

    Mistake = tuple[str, str]
    Also = Callable[[Mapping[str, Any]], Iterable[Mistake]]

FILE = Path(__file__).with_name("openapi.yaml")
BASE = "urn:portcullis"
# Enough to mend a request by; an answer must not be larger than what was sent.
MAX_MISTAKES = 10
MAX_NAME = 64
JSON = "application/json"


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # Whole, because for Python's `$` a line break may still follow.
    if isinstance(instance, str) and not re.fullmatch(pattern, instance):
        yield ValidationError(f"is not {pattern}")


def _is_integer(_checker: Any, instance: Any) -> bool:
    # 1.0 is one for JSON Schema, and would be stored as something else than 1.
    return isinstance(instance, int) and not isinstance(instance, bool)


Strict = extend(
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


@dataclass(frozen=True, slots=True)
class _Operation:
    """One method of one path: what its body must be, None where it takes none, and its query's parameters."""

    body: Any
    body_required: bool
    query: Mapping[str, Any] = field(default_factory=dict)


class Contract:
    """The API as it is described, and requests as they are held to it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        whole = absolute(document)
        resource: Resource[Any] = Resource.from_contents(whole, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(BASE, resource)
        every = [
            ((method.upper(), path), described)
            for path, methods in whole["paths"].items()
            for method, described in methods.items()
        ]
        self._operations = {at: self._operation(described) for at, described in every}
        self._places = {described["operationId"]: at for at, described in every}

    @classmethod
    def read(cls) -> Contract:
        """Return the contract that comes with the product."""
        return cls(yaml.load(FILE.read_bytes(), Loader=yaml.CSafeLoader))

    @functools.cached_property
    def encoded(self) -> bytes:
        """The contract as JSON."""
        return orjson.dumps(self._document)

    def place_of(self, operation: str) -> tuple[str, str]:
        """Return the method and path of an operation; raises KeyError where there is no such one."""
        return self._places[operation]

    @property
    def operations(self) -> frozenset[tuple[str, str]]:
        """Every method and path that is described."""
        return frozenset(self._operations)

    def body(self, request: web.Request, body: bytes, also: Also) -> dict[str, Any]:
        """Return a request's body, an object. Raises InvalidBody with every mistake; no body is an empty object.

        `also` yields what else is wrong with the fields that are well-formed.
        """
        operation = self._of(request)
        document = _decoded(body) if body or operation.body_required else {}
        _hold(operation, document, also)
        return dict(document)

    def hold(self, name: str, document: Mapping[str, Any], also: Also) -> None:
        """Hold the body of an operation to what it must be. Raises InvalidBody with every mistake."""
        _hold(self._operations[self._places[name]], document, also)

    def query(self, request: web.Request) -> dict[str, Any]:
        """Return the parameters of a request's query, by their types. Raises InvalidBody with every mistake."""
        described = self._of(request).query
        found: dict[str, Any] = {}
        mistakes: list[Mistake] = []
        for name in dict.fromkeys(request.query):
            values = request.query.getall(name)
            if name not in described:
                mistakes.append((name[:MAX_NAME], _no_field(described, "parameter", "this query")))
            elif len(values) > 1:
                mistakes.append((name, "is there more than once"))
            else:
                found[name] = _typed(values[0], self._resolved(described[name].schema))
                mistakes += ((name, why) for _, why in _mistakes(described[name].iter_errors(found[name])))
        raise_with(mistakes)
        return found

    def _of(self, request: web.Request) -> _Operation:
        resource = request.match_info.route.resource
        assert resource is not None
        # HEAD is GET without the body (RFC 9110, section 9.3.2), and answered by the same route.
        method = "GET" if request.method == "HEAD" else request.method
        return self._operations[method, resource.canonical]

    def _operation(self, described: Mapping[str, Any]) -> _Operation:
        body = self._resolved(described.get("requestBody", {}))
        query = {
            one["name"]: self._validator(one["schema"])
            for one in map(self._resolved, described.get("parameters", ()))
            if one["in"] == "query"
        }
        schema = body["content"][JSON]["schema"] if body else None
        return _Operation(self._validator(schema) if schema else None, body.get("required", False), query)

    def _resolved(self, described: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in described:
            return described
        found: dict[str, Any] = self._registry.resolver(BASE).lookup(described["$ref"]).contents
        return found

    def _validator(self, schema: Mapping[str, Any]) -> Any:
        return Strict(schema, registry=self._registry)


def raise_with(mistakes: Iterable[Mistake]) -> None:
    """Raise InvalidBody with the first of these mistakes, if there are any."""
    found = tuple(dict.fromkeys(mistakes))[:MAX_MISTAKES]
    if found:
        raise InvalidBody(found)


def _hold(operation: _Operation, document: Any, also: Also) -> None:
    if operation.body is None:
        raise_with((("", "this takes no body"),) if document != {} else ())
        return
    mistakes = list(_mistakes(operation.body.iter_errors(document)))
    if isinstance(document, dict):
        wrong = {name.partition(".")[0] for name, _ in mistakes}
        mistakes += also({name: value for name, value in document.items() if name not in wrong})
    raise_with(mistakes)


def _decoded(body: bytes) -> Any:
    try:
        return json.decode(body)
    except Malformed as error:
        raise InvalidBody((("", str(error)),)) from error


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """Return a parameter's text as what it is to be; text that is nothing of the kind stays text, which is refused."""
    if schema.get("type") == "integer":
        return int(text) if text.isascii() and text.isdecimal() and len(text) < MAX_NAME else text
    return {"true": True, "false": False}.get(text, text) if schema.get("type") == "boolean" else text


def _mistakes(errors: Iterable[ValidationError]) -> Iterator[Mistake]:
    """Yield what is wrong with the fields that there are, then those that there are not, of which there may be many."""
    strange: list[Mistake] = []
    for error in errors:
        at = ".".join(str(step) for step in error.absolute_path)
        inside = f"{at}." if at else ""
        if error.validator == "required":
            missing = (name for name in error.validator_value if name not in error.instance)
            yield from ((inside + name, "is missing") for name in missing)
        elif error.validator == "additionalProperties":
            known = error.schema["properties"]
            why = _no_field(known, "field", "this body")
            strange += [(inside + name[:MAX_NAME], why) for name in error.instance if name not in known]
        else:
            yield at, _why(error)
    yield from strange


def _no_field(known: Mapping[str, Any], what: str, where: str) -> str:
    names = list(known)
    if len(names) == 1:
        return f"is no {what} of {where}; the only one is {names[0]}"
    return f"is no {what} of {where}; there is {', '.join(names)}" if names else f"{where} has no {what}s"


def _why(error: ValidationError) -> str:
    """Say what the value must be; never what it is, which may be long, or somebody's secret."""
    schema = error.schema
    if isinstance(schema, dict) and "x-must" in schema:
        return f"must be {schema['x-must']}"
    limit = error.validator_value
    match error.validator:
        case "type":
            return f"must be {' or '.join(limit) if isinstance(limit, list) else limit}"
        case "enum":
            return f"must be one of {', '.join(map(str, limit))}"
        case "minimum" | "minLength" | "minItems":
            return f"must be {_counted(error)}at least {limit}"
        case "maximum" | "maxLength" | "maxItems":
            return f"must be {_counted(error)}at most {limit}"
        case "uniqueItems":
            return "has the same more than once"
        case _:
            return "is not what docs/openapi.yaml says"


def _counted(error: ValidationError) -> str:
    unit = {"Length": "characters, ", "Items": "entries, "}
    return next((text for word, text in unit.items() if str(error.validator).endswith(word)), "")


def absolute(described: Any) -> Any:
    """Return a part of the contract with references that mean the same wherever they stand."""
    if isinstance(described, dict):
        return {
            name: BASE + value if name == "$ref" and isinstance(value, str) else absolute(value)
            for name, value in described.items()
        }
    return [absolute(one) for one in described] if isinstance(described, list) else described
