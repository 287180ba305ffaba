"""The command line: one file a command family, listed here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each command with the module that has it under the command's name, in the order in which help shows them.
FAMILIES: Mapping[str, str] = {
    "up": "up",
    "serve": "up",
    "sync": "sync",
    "check": "check",
    "doctor": "doctor",
    "explain": "explain",
    "key": "key",
    "tool": "tool",
    "policy": "policy",
    "replica": "replica",
    "audit": "audit",
    "config": "config",
    "opa": "opa",
}


class Portcullis(click.Group):
    """The command group: what the gateway refuses ends the process with status 1 and the reason on stderr."""

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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a usage error stays status 2."""
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Portcullis, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="portcullis")
def main() -> None:
    """Portcullis, the fail-closed front door for MCP."""
