"""`portcullis policy`: what authors of Rego run, on the policies that ship and on their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import policies
from bundles.custom import read_custom
from gateway.cli.common import plain
from gateway.cli.replay import replay
from gateway.errors import ConfigError
from gateway.pdp.opa_binary import find

if TYPE_CHECKING:
    from collections.abc import Sequence

CORE = policies.ROOT / "portcullis"
SCHEMAS = policies.ROOT / "schemas"
COVERAGE = 95
# For one test, in which a whole table of cases may be.
TEST_TIMEOUT = "60s"


@click.group()
def policy() -> None:
    """Check and test policies with the OPA that decides."""


folders = click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))


cases_option = click.option(
    "--cases", type=click.Path(exists=True, path_type=Path), help="Tables of cases, with the Rego that runs them."
)


@policy.command()
@cases_option
@folders
def check(folders: tuple[Path, ...], cases: Path | None) -> None:
    """Check the shipped policies and folders of custom ones. Format, types against the schemas, and the fence."""
    opa = find().path
    failed = _unformatted(opa, CORE, *([cases] if cases else []), *folders)
    failed |= _opa(opa, "check", "--strict", "--schema", SCHEMAS, CORE)
    for folder in folders:
        failed |= _custom(folder, opa)
    _end("policies are well-formed, typed and within the fence", failed=failed)


@policy.command()
@cases_option
@click.option("--coverage", is_flag=True, help=f"Fail below {COVERAGE} % of the shipped policies' lines.")
@click.option("-v", "--verbose", is_flag=True, help="Name every test.")
@folders
def test(folders: tuple[Path, ...], cases: Path | None, coverage: bool, verbose: bool) -> None:
    """Run the tests of the shipped policies. Those of custom folders run together with them."""
    opa = find().path
    core = [CORE, *([cases] if cases else [])]
    options = ["--fail-on-empty", "--timeout", TEST_TIMEOUT, *(["--verbose"] if verbose else [])]
    failed = _opa(opa, "test", *options, *core)
    if coverage:
        threshold = ["--coverage", "--threshold", str(COVERAGE), "--timeout", TEST_TIMEOUT]
        failed |= _opa(opa, "test", *threshold, *core, quiet=True)
    for folder in folders:
        # The prefix puts a folder's data where the bundle will have it: data.custom.<name>.
        failed |= _opa(opa, "test", *options, CORE, f"custom:{folder}")
    _end("every test passed", failed=failed)


def _unformatted(opa: Path, *paths: Path) -> bool:
    """Name every file that `opa fmt` would write otherwise; True if there is one, or one that it cannot read."""
    run = subprocess.run([opa, "fmt", "--list", "--fail", *paths], capture_output=True, text=True, check=False)  # noqa: S603
    names = run.stdout.splitlines()
    _complain([f"{name}: is not formatted; {opa} fmt --write {name} does it" for name in names])
    if not names:
        sys.stderr.write(run.stderr)
    return run.returncode != 0


def _opa(opa: Path, *arguments: str | Path, quiet: bool = False) -> bool:
    """Run OPA and pass on what it says; True if it failed. `quiet` passes on only what went wrong."""
    run = subprocess.run([opa, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if run.returncode or not quiet:
        sys.stdout.write(run.stdout)
        sys.stderr.write(run.stderr)
    return run.returncode != 0


def _custom(folder: Path, opa: Path) -> bool:
    try:
        found = read_custom(folder, opa)
    except ConfigError as error:
        _complain([str(mistake) for mistake in error.mistakes])
        return True
    for name, rules in found.packages.items():
        click.echo(f"custom.{name}: {', '.join(rules)}")
    return False


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(f"error: {plain(line)}", err=True)


def _end(text: str, *, failed: bool) -> None:
    if failed:
        raise click.exceptions.Exit(1)
    click.echo(text)


policy.add_command(replay)
