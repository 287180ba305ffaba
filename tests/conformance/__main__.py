"""Run the official conformance suite against the fixture, alone and through the gateway, and compare.

make conformance                                              every run, and every real client
make conformance ARGS=--direct                                the fixture alone
make conformance ARGS="--revision 2026-07-28"                 the runs of one wire version
make conformance ARGS="--scenario server-stateless --verbose" one scenario, as the suite prints it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tests.conformance import npm
from tests.conformance.narrowed import hidden
from tests.conformance.report import report
from tests.conformance.stage import fixture, through_gateway
from tests.conformance.suite import look, runs, scored
from tests.conformance.verdict import Compared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from tests.conformance.suite import Found, Run

WIDTH = 160


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--direct", action="store_true", help="ask the fixture alone, without a gateway")
    parser.add_argument("--revision", metavar="DATE", help="only the runs at this wire version")
    parser.add_argument("--scenario", metavar="NAME", help="only this scenario, printed as the suite prints it")
    parser.add_argument("--verbose", action="store_true", help="with --scenario: each check in full")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--keep",
        metavar="FOLDER",
        type=Path,
        help="keep results, logs and state here, instead of what a run before has kept",
    )
    options = parser.parse_args()
    if not options.scenario and not runs(options.revision):
        parser.error(f"no run is at wire version {options.revision}")
    return options


def places(folder: Path, *, direct: bool) -> dict[str, AbstractAsyncContextManager[str]]:
    """Return where the suite is pointed, each place with processes of its own."""
    alone = {"direct": fixture(folder / "direct")}
    if direct:
        return alone
    narrow = through_gateway(folder / "narrowed", hidden())
    return alone | {"gateway": through_gateway(folder / "gateway"), "narrowed": narrow}


async def compared(options: argparse.Namespace, folder: Path) -> list[Compared]:
    """Run everything in every place: the places side by side, the runs of one place one after the other."""
    chosen = runs(options.revision)

    async def all_runs(name: str, url: str) -> list[Found]:
        return [await look(url, run.arguments, folder / name / run.name) for run in chosen]

    async with AsyncExitStack() as stack:
        entered = {
            name: await stack.enter_async_context(one) for name, one in places(folder, direct=options.direct).items()
        }
        found = dict(zip(entered, await asyncio.gather(*(all_runs(*one) for one in entered.items())), strict=True))
    return [_compared(run, *(found[name][index] for name in found)) for index, run in enumerate(chosen)]


def _compared(run: Run, direct: Found, through: Found | None = None, narrow: Found | None = None) -> Compared:
    return Compared(run, scored(run), direct, through, narrow, hidden())


async def one_scenario(options: argparse.Namespace, folder: Path) -> int:
    """Print what the suite says of one scenario in each place; 1 where it fails through the last of them."""
    wanted = ["--scenario", options.scenario]
    wanted += ["--spec-version", options.revision] if options.revision else []
    wanted += ["--verbose"] if options.verbose else []
    found = None
    for name, place in places(folder, direct=options.direct).items():
        if name != "narrowed":
            async with place as url:
                found = await look(url, wanted, folder / name / "scenario")
            print(f"=== {name}\n{found.output}", flush=True)
    return int(found is None or bool(found.failed) or not found.checks)


def show(every: Sequence[Compared], *, as_json: bool) -> int:
    """Print the report; 1 where there is a fault."""
    faults = [fault for one in every for fault in one.faults()]
    if as_json:
        print(json.dumps({"ok": not faults, "runs": [one.as_json() for one in every]}, indent=2))
    else:
        console = Console(width=WIDTH, highlight=False)
        for part in report(every):
            console.print(part, markup=False, soft_wrap=True)
    return int(bool(faults))


def main() -> int:
    """Run what was asked for."""
    options = arguments()
    npm.node()
    kept = options.keep and options.keep.absolute()
    for name in ("direct", "gateway", "narrowed") if kept else ():
        shutil.rmtree(kept / name, ignore_errors=True)
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        if options.scenario:
            return asyncio.run(one_scenario(options, Path(folder)))
        return show(asyncio.run(compared(options, Path(folder))), as_json=options.json)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except npm.Missing as missing:
        sys.exit(str(missing))
