"""Allow and deny lists: which tools, prompts and resources of a server pass."""

from gateway.config.sections import section
from gateway.config.values import Pattern, PromptPattern, ResourcePattern
from gateway.ids import Kind


@section
class ToolLists:
    """Which tools pass: deny beats allow, and an empty `allow_list` means all that the server offers."""

    allow_list: tuple[Pattern, ...] = ()
    deny_list: tuple[Pattern, ...] = ()


@section
class PromptLists:
    """Which prompts pass, by name; read like those of tools."""

    allow_list: tuple[PromptPattern, ...] = ()
    deny_list: tuple[PromptPattern, ...] = ()


@section
class ResourceLists:
    """Which resources pass, by URI, and which templates, by their text; read like those of tools."""

    allow_list: tuple[ResourcePattern, ...] = ()
    deny_list: tuple[ResourcePattern, ...] = ()


Lists = ToolLists | PromptLists | ResourceLists


@section
class Access:
    """Which prompts and resources pass."""

    prompt: PromptLists = PromptLists()
    resource: ResourceLists = ResourceLists()

    def of(self, kind: Kind, tools: ToolLists) -> Lists:
        """Return the lists for a kind, those of tools being written elsewhere."""
        if kind is Kind.TOOL:
            return tools
        return self.prompt if kind is Kind.PROMPT else self.resource
