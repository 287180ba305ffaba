"""Every route that any endpoint of the product has, found where they are written and not where they are listed."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

from gateway import endpoints
from gateway.endpoints.contract import Contract
from gateway.endpoints.entry import Reception
from gateway.endpoints.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Iterator


def every_route() -> set[tuple[str, str]]:
    """Return every method and path of the public listener, as the contract writes them."""
    return {(one.method, one.path.replace(":.+", "")) for each in _every_endpoint() for one in each.routes()}


def _every_endpoint() -> Iterator[Any]:
    """Yield an instance of whatever in `gateway.endpoints` has routes; what it is made of, routes do not ask for."""
    for found in pkgutil.iter_modules(endpoints.__path__):
        module = importlib.import_module(f"gateway.endpoints.{found.name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and dataclasses.is_dataclass(kind) and hasattr(kind, "routes"):
                yield _made(kind)


def _made(kind: Any) -> Any:
    nothing: Any = None
    if kind is Operations:
        return Operations(Reception(nothing, Contract.read()))
    return kind(*(None for _ in dataclasses.fields(kind)))
