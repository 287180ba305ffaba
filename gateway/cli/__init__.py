"""The command line: one file a command family, listed here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.failing import failing

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each command with the module that has it under the command's name, in the order in which help shows them.
FAMILIES: Mapping[str, str] = {
    "up": "up",
    "serve": "up",
    "sync": "sync",
    "stdio": "stdio",
    "check": "check",
    "doctor": "doctor",
    "explain": "explain",
    "key": "key",
    "token": "token",
    "role": "role",
    "tenant": "tenant",
    "tool": "tool",
    "policy": "policy",
    "replica": "replica",
    "audit": "audit",
    "config": "config",
    "opa": "opa",
}


WORDS = "portcullis.words"


class Portcullis(click.Group):
    """The command group: what the gateway refuses ends the process with status 1 and the reason (`failing`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the names of the commands."""
        return list(FAMILIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        """Return a command, imported when it is asked for: a short one need not wait for what a long one needs."""
        if cmd_name not in FAMILIES:
            return None
        command = getattr(import_module(f"gateway.cli.{FAMILIES[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Keep the words of the command line: by them it is known how to fail."""
        words = tuple(args)
        with failing(words):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[WORDS] = words
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a usage error stays status 2."""
        with failing(ctx.meta[WORDS]):
            return super().invoke(ctx)


@click.group(cls=Portcullis, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="portcullis")
def main() -> None:
    """Portcullis, the fail-closed front door for MCP."""
