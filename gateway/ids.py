"""What servers offer, and how it is named: kinds, names, canonical ids. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TENANT_ID = re.compile(r"(?!_)[A-Za-z0-9._:-]{1,128}")
TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
# What of a server's own names an agent can be shown: printable ASCII, so that no two look alike. A URI has no braces,
# and a template (RFC 6570) has an expression in at least one pair of them, so neither passes for the other.
PROMPT_NAME = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")
RESOURCE_URI = re.compile(r"[!-z|~]{1,2048}")
RESOURCE_TEMPLATE = re.compile(r"(?=.{1,2048}\Z)(?:[!-z|~]*\{[+#./;?&]?(?![+#./;?&])[!-z|~]+\}){1,16}[!-z|~]*")
# A shared server's id, or `<tenant>:<id>` of one that a tenant brings along.
SERVER_KEY = re.compile(rf"(?:{TENANT_ID.pattern}:)?{SERVER_ID.pattern}")


class Mode(StrEnum):
    """Who is let in: trusted callers of a private network, or known tenants only."""

    EGRESS = "egress"
    FRONT_DOOR = "front_door"


class Kind(StrEnum):
    """What a server offers, and policy speaks of."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Ref:
    """One thing that a server offers. Written as its canonical id: `server/tool`, `server#prompts/name` or
    `server#resources/uri`, where the URI may be a template. No key of a server holds a slash or a hash.
    """

    server: str
    kind: Kind
    name: str

    @classmethod
    def of_tool(cls, server: str, name: str) -> Ref:
        """Return a tool."""
        return cls(server, Kind.TOOL, name)

    @classmethod
    def parse(cls, id_: str) -> Ref:
        """Split a canonical id; raises ValueError where there is no server or no name."""
        end = next((at for at, char in enumerate(id_) if char in "/#"), 0)
        for kind, separator in _SEPARATORS.items():
            if end and id_.startswith(separator, end) and len(id_) > end + len(separator):
                return cls(id_[:end], kind, id_[end + len(separator) :])
        raise ValueError(f"not a canonical id: {id_!r}")

    @property
    def is_possible(self) -> bool:
        """Whether a server may be called so, and an agent be shown something of this name."""
        named = any(shape.fullmatch(self.name) for shape in _NAMES[self.kind])
        return named and SERVER_KEY.fullmatch(self.server) is not None

    def __str__(self) -> str:
        return f"{self.server}{_SEPARATORS[self.kind]}{self.name}"


def server_of(id_: str) -> str:
    """Return the server of a canonical id."""
    return id_.partition("/")[0].partition("#")[0]


_SEPARATORS = {Kind.TOOL: "/", Kind.PROMPT: "#prompts/", Kind.RESOURCE: "#resources/"}
_NAMES: Mapping[Kind, tuple[re.Pattern[str], ...]] = {
    Kind.TOOL: (TOOL_NAME,),
    Kind.PROMPT: (PROMPT_NAME,),
    Kind.RESOURCE: (RESOURCE_URI, RESOURCE_TEMPLATE),
}


def flat_name(ref: Ref, mode: Mode) -> str:
    """Return the name under which agents see something at an endpoint that shows several servers.

    URIs are never changed. In egress the server is named by the id that its own tenant gives it.
    """
    if ref.kind is Kind.RESOURCE or mode is Mode.FRONT_DOOR:
        return ref.name
    return f"{ref.server.rpartition(':')[2]}__{ref.name}"
