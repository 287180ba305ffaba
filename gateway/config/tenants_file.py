"""tenants.yaml, whole or not at all: every tenant as the operator defines it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from gateway.config.contents import Terms, expanded, inside
from gateway.config.document import parse
from gateway.config.findings import Finding
from gateway.config.forms import TENANTS
from gateway.config.lines import Lines
from gateway.config.references import Context
from gateway.config.rules_tenants import tenant_findings
from gateway.config.tenants import Tenant
from gateway.config.validate import placed, validated
from gateway.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.config.document import Document
    from gateway.config.document import Path as Keys
    from gateway.config.memory import Look

Numbered = tuple[int, Tenant]
_TENANT: TypeAdapter[Tenant] = TypeAdapter(Tenant)


@dataclass(frozen=True, slots=True)
class Rows:
    """The tenants of one file, without their catalogs, and the paths of these.

    `folder` is what paths in the file are relative to, and `roots` are the folders that a catalog may lie in.
    """

    folder: Path
    roots: tuple[Path, ...]
    tenants: tuple[Tenant, ...]
    paths: tuple[Path | None, ...]
    lines: Lines

    @classmethod
    def of(cls, tenants: tuple[Tenant, ...], folder: Path, roots: tuple[Path, ...], lines: Lines) -> Rows:
        """Return the tenants with the paths of their catalogs."""
        paths = tuple(folder / expanded(Path(one.catalog_file)) if one.catalog_file else None for one in tenants)
        return cls(folder, roots, tenants, paths, lines)

    def mistake(self, index: int, message: str) -> Mistake:
        """Return a mistake at the catalog of a tenant."""
        key = "catalog_file" if self.tenants[index].catalog_file else "id"
        return self.lines.mistake(("tenants", index, key), message)


def read_rows(path: Path, look: Look, roots: tuple[Path, ...]) -> tuple[Rows | None, tuple[Mistake, ...]]:
    """Return the tenants of a file, None where it has a mistake, and every mistake."""

    def make(raw: bytes) -> tuple[tuple[Rows | None, tuple[Mistake, ...]], Context]:
        context = Context(path.absolute().parent, look.environ)
        return _made(parse(raw, str(path), TENANTS.bounds), context, roots), context

    try:
        return look.made("tenants", path.absolute(), Terms(TENANTS.bounds.max_bytes), roots, make)
    except OSError as error:
        return None, (Mistake(str(path), "", None, f"cannot be read: {error.strerror}"),)


def _made(document: Document, context: Context, roots: tuple[Path, ...]) -> tuple[Rows | None, tuple[Mistake, ...]]:
    found = validated(document, TENANTS, lambda _: iter(()), context)
    numbered = tuple(enumerate(found.value.tenants)) if found.value else tuple(_good(document, context))
    broken = tuple(placed(one, document) for one in row_findings(numbered, context.folder, roots))
    if found.value is None or found.mistakes or broken:
        return None, (*found.mistakes, *broken)
    lines = Lines(Path(document.file), TENANTS.bounds)
    return Rows.of(found.value.tenants, context.folder, roots, lines), ()


def row_findings(tenants: Sequence[Numbered], folder: Path, roots: Sequence[Path]) -> Iterator[Finding]:
    """Yield every rule that the tenants of a file break, those on where catalogs may lie included."""
    yield from tenant_findings(tenants)
    for index, tenant in tenants:
        if tenant.catalog_file is not None:
            yield from _location(tenant.catalog_file, ("tenants", index, "catalog_file"), folder, roots)


def _location(name: str, at: Keys, folder: Path, roots: Sequence[Path]) -> Iterator[Finding]:
    """Refuse what is outside by its spelling; where its links lead is the tenant's alone to answer for."""
    if ".." not in name and not name.startswith(("/", "~")):
        return
    try:
        path = folder / expanded(Path(name))
    except ValueError as error:
        yield Finding(at, str(error))
        return
    spelled = Path(os.path.normpath(path.absolute()))
    if not any(spelled.is_relative_to(root.absolute()) or inside(path, root) for root in roots):
        yield Finding(at, f"{path} is outside the configuration directory, {roots[0].absolute()}")


def _good(document: Document, context: Context) -> Iterator[Numbered]:
    """Yield the tenants of a file in which others are bad, so that rules between them are tried too."""
    listed = document.data.get("tenants") if isinstance(document.data, dict) else None
    for index, row in enumerate(listed if isinstance(listed, list) else ()):
        try:
            yield index, _TENANT.validate_python(row, context=context)
        except ValidationError:
            continue
