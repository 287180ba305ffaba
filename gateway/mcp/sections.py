"""The lists that a server has, as data: how each is asked for, what its elements are named by, which may be offered.

Everything that differs by kind in listing stands here; who lists, keeps or shows something goes by this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.ids import PROMPT_NAME, RESOURCE_TEMPLATE, RESOURCE_URI, TOOL_NAME, Kind
from gateway.mcp.params import annotation_fault
from gateway.templates import Template

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Section:
    """One list: `method` asks for it, of a server that declares the `capability`; `member` of the result holds it.

    An element is named by its member `named_by`, in the form of `names`, has the members `texts` as texts, and is
    `fit` to be offered. A server may have `most` of them, which people call `things`.
    """

    method: str
    kind: Kind
    capability: str
    member: str
    named_by: str
    names: re.Pattern[str]
    things: str
    most: int
    texts: tuple[str, ...] = ()
    fit: Callable[[Mapping[str, Any]], bool] = lambda _: True


def _can_be_called(tool: Mapping[str, Any]) -> bool:
    """Whether a tool has a schema with valid x-mcp-header annotations (else a client must drop it), and can be called
    without a task.
    """
    schema, execution = tool.get("inputSchema"), tool.get("execution")
    if not isinstance(schema, dict) or annotation_fault(schema):
        return False
    return not (isinstance(execution, dict) and execution.get("taskSupport") == "required")


def _can_be_matched(template: Mapping[str, Any]) -> bool:
    """Whether it can be told which URIs a template reads."""
    try:
        Template(template["uriTemplate"])
    except ValueError:
        return False
    return True


# Everything listed is in policy's data for every tenant that is offered it, so one server could otherwise fill
# everybody's; and each read is held against every template, of which policy is asked about a hundred.
TOOLS = Section("tools/list", Kind.TOOL, "tools", "tools", "name", TOOL_NAME, "tools", 5000, fit=_can_be_called)
PROMPTS = Section("prompts/list", Kind.PROMPT, "prompts", "prompts", "name", PROMPT_NAME, "prompts", 5000)
RESOURCES = Section(
    "resources/list", Kind.RESOURCE, "resources", "resources", "uri", RESOURCE_URI, "resources", 5000, ("name",)
)
TEMPLATES = Section(
    "resources/templates/list",
    Kind.RESOURCE,
    "resources",
    "resourceTemplates",
    "uriTemplate",
    RESOURCE_TEMPLATE,
    "resource templates",
    100,
    ("name",),
    _can_be_matched,
)
SECTIONS: Mapping[str, Section] = {one.method: one for one in (TOOLS, PROMPTS, RESOURCES, TEMPLATES)}
"""Every list, by the method that asks for it."""
CAPABILITIES: Mapping[str, Kind] = {one.capability: one.kind for one in SECTIONS.values()}
"""What a server declares that it has, and the kind that this is."""
