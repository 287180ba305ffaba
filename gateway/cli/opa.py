"""`portcullis opa`: the engine itself."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

from gateway.cli.common import json_option, print_json
from gateway.cli.opa_config import config
from gateway.errors import EngineMissing
from gateway.pdp.opa_binary import find
from gateway.pdp.opa_install import Installed, Installer


@click.group()
def opa() -> None:
    """Get OPA, and print its configuration."""


@opa.command()
@click.option("--force", is_flag=True, help="Install again, even if the cache has it.")
@json_option
def install(force: bool, as_json: bool) -> None:
    """Find OPA (OPA_BIN, PATH, the cache), else get the pinned one.

    It is built by `go install` where there is go, else it is the official release, checked by its SHA-256.
    """
    installed = _found(force) or _with_progress(force)
    binary = installed.binary
    if as_json:
        print_json({"path": str(binary.path), "version": binary.version, "how": installed.how})
    else:
        click.echo(f"OPA {binary.version} is at {binary.path}")


def _with_progress(force: bool) -> Installed:
    """Install; a terminal is shown how far it is and a log is told once, on stderr: stdout holds the result alone."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task, told = bar.add_task("OPA", total=None), set[str]()

        def show(what: str, done: int, total: int) -> None:
            if bar.disable and what not in told:
                told.add(what)
                click.echo(f"{what}; this can take minutes", err=True)
            bar.update(task, description=what, completed=done, total=total or None)

        return Installer(os.environ, progress=show).install(force=force)


def _found(force: bool) -> Installed | None:
    """Return an OPA that is here already and may be used, unless it is to be got again."""
    if force:
        return None
    try:
        return Installed(find(), "present")
    except EngineMissing:
        return None


opa.add_command(config)
