"""The command line: one file a command family, listed here."""

from __future__ import annotations

import click

from gateway.cli import audit, check, config, doctor, explain, key, opa, opa_config, policy, replica, sync, tool, up
from gateway.cli.common import Portcullis

FAMILIES: tuple[click.Command, ...] = (
    up.up,
    up.serve,
    sync.sync,
    check.check,
    doctor.doctor,
    explain.explain,
    key.key,
    tool.tool,
    policy.policy,
    replica.replica,
    audit.audit,
    config.config,
    opa.opa,
)


@click.group(cls=Portcullis, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="portcullis")
def main() -> None:
    """Portcullis, the fail-closed front door for MCP."""


opa.opa.add_command(opa_config.config)
for family in FAMILIES:
    main.add_command(family)
