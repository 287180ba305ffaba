"""What is known of one server: its definitions as the elements of lists, what tells two listings apart, its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gateway.facts import ServerInventory
from gateway.ids import Mode, Ref, flat_name
from gateway.mcp.definitions import Fragment, digest_of, fragment
from gateway.mcp.sections import PROMPTS, RESOURCES, SECTIONS, TEMPLATES, TOOLS
from gateway.templates import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ids import Kind
    from gateway.mcp.definitions import Definition, Offered
    from gateway.mcp.sections import Section


@dataclass(frozen=True, slots=True)
class KnownDefinition:
    """One definition under its own name, and under the one that it has among several servers' in egress."""

    plain: Fragment
    flat: Fragment


class KnownServer(NamedTuple):
    """What is known of one server: a digest of all, its definitions by id, what matches URIs.

    `sections` are the digests of its lists that are not empty, by method.
    """

    digest: str
    definitions: Mapping[str, KnownDefinition]
    sections: Mapping[str, str]
    templates: tuple[Template, ...]

    def differs(self, other: KnownServer) -> frozenset[Kind]:
        """Return the kinds of which it offers something else."""
        methods = self.sections.keys() | other.sections.keys()
        return frozenset(
            SECTIONS[method].kind for method in methods if self.sections.get(method) != other.sections.get(method)
        )


UNKNOWN = KnownServer("", {}, {}, ())


@dataclass(frozen=True, slots=True)
class Listing:
    """How listing a server went last: how many tools are known, why it failed (None if it did not), and when.

    `at` is in seconds since the epoch.
    """

    tools: int
    failure: str | None
    at: float


def inventory_of(server: str, digest: str, offered: Offered, at: int) -> ServerInventory:
    """Return what the ledger keeps of what a server offers; `at` in milliseconds since the epoch."""
    tools, prompts, resources, templates = (
        tuple(sorted(one.name for one in offered.get(section.method, ())))
        for section in (TOOLS, PROMPTS, RESOURCES, TEMPLATES)
    )
    return ServerInventory(server, digest, tools, at, prompts, resources, templates)


def recalled_server(kept: ServerInventory) -> KnownServer:
    """Return what the ledger knows of a server that was not listed yet: no definitions, but what matches URIs."""
    return UNKNOWN._replace(templates=tuple(map(Template, kept.templates)))


def known_server(server: str, digest: str, offered: Offered) -> KnownServer:
    """Return what is known of a server by what it offers."""
    definitions = {
        str(ref): _definition(section, ref, one)
        for method, section in SECTIONS.items()
        for one in offered.get(method, ())
        for ref in (Ref(server, section.kind, one.name),)
    }
    sections = {method: digest_of({method: some}) for method, some in offered.items() if some}
    templates = tuple(Template(one.name) for one in offered.get(TEMPLATES.method, ()))
    return KnownServer(digest, definitions, sections, templates)


def _definition(section: Section, ref: Ref, one: Definition) -> KnownDefinition:
    plain, name = fragment(section, one.text, ref.name), flat_name(ref, Mode.EGRESS)
    return KnownDefinition(plain, plain if name == ref.name else fragment(section, one.text, name))
