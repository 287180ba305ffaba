"""`portcullis config`: the configuration's JSON Schema, for editors."""

from __future__ import annotations

import json

import click

from gateway.config.json_schema import json_schema


@click.group()
def config() -> None:
    """The configuration file: its schema."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml."""
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
