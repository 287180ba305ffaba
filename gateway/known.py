"""What is known of one server: its definitions as the elements of lists, what tells two listings apart, its names."""

from __future__ import annotations

from collections import Counter
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


class Summary:
    """What all servers together have: how many have each list, and whose templates match a URI."""

    def __init__(self) -> None:
        self._lists: Counter[str] = Counter()
        # By who brings the server along, nobody for shared ones: a read is about those of one tenant.
        self._templates: dict[str, dict[str, tuple[Template, ...]]] = {}

    def replace(self, server: str, before: KnownServer, now: KnownServer) -> None:
        """Count a server as what is known of it now."""
        self._lists.subtract(before.sections.keys())
        self._lists.update(now.sections.keys())
        owner, _, id_ = server.rpartition(":")
        self._templates.setdefault(owner, {}).pop(id_, None)
        if now.templates:
            self._templates[owner][id_] = now.templates
        elif not self._templates[owner]:
            del self._templates[owner]

    def has(self, section: Section) -> bool:
        """Say whether any server offers something of a list."""
        return self._lists[section.method] > 0

    def matching(self, uri: str, server: str | None, tenant: str | None) -> tuple[str, ...]:
        """Return the templates that a URI may be an expansion of: the shared ones, and those that the tenant brings.

        With a server, by the id that the tenant knows it by, only those of that one.
        """
        known = (self._templates.get(owner, {}) for owner in {"", tenant or ""})
        counted = (some for one in known for id_, some in one.items() if server in (None, id_))
        return tuple(sorted({one.text for some in counted for one in some if one.matches(uri)}))


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
