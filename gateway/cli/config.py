"""`portcullis config`: the JSON Schemas of the configuration's files, for editors."""

from __future__ import annotations

import json

import click

from gateway.config.forms import CATALOG, CONFIG, TENANTS
from gateway.config.json_schema import json_schema

FORMS = {"config": CONFIG, "tenants": TENANTS, "catalog": CATALOG}


@click.group()
def config() -> None:
    """The configuration files: their schemas."""


@config.command()
@click.argument("file", type=click.Choice(tuple(FORMS)), default="config")
def schema(file: str) -> None:
    """Print the JSON Schema of config.yaml, of tenants.yaml or of a catalog file."""
    click.echo(json.dumps(json_schema(FORMS[file].root), indent=2, ensure_ascii=False))
