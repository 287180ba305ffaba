"""The three kinds of file: what is made of each, and how large and how deep it may be."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import TypeAdapter

from gateway.config.document import CONFIG as CONFIG_BOUNDS
from gateway.config.document import Bounds
from gateway.config.schema import Config
from gateway.config.tenants import Catalog, TenantsFile

T_co = TypeVar("T_co", covariant=True)


class Form(Generic[T_co]):
    """A kind of file; `page` is where its keys are described."""

    def __init__(self, root: type[T_co], bounds: Bounds, page: str) -> None:
        self.root = root
        self.bounds = bounds
        self.page = page
        self.adapter: TypeAdapter[T_co] = TypeAdapter(root)


CONFIG = Form(Config, CONFIG_BOUNDS, "docs/configuration.md")
# Ten thousand tenants take 5 MiB.
TENANTS = Form(TenantsFile, Bounds(max_bytes=32 * 1024 * 1024, max_depth=8), "docs/tenants.md")
# A tenant's, which must not keep the others waiting.
CATALOG = Form(Catalog, Bounds(max_bytes=256 * 1024, max_depth=12), "docs/tenants.md")
