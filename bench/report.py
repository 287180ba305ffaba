"""Figures as tables for people; wide enough for a file where there is no terminal."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench.figures import ENFORCED_BUDGET_MS, READY_BUDGET_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = ("gateway", "opa", "backend", "load")


def console() -> Console:
    """Return the standard output, of a width that no table is folded at when it is not a terminal."""
    made = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = 140
    return made


def show(figures: dict[str, Any], table: Callable[[dict[str, Any]], None], *, as_json: bool) -> None:
    """Print figures for a program, or as the table that people read."""
    if as_json:
        print(json.dumps(figures, indent=1))
    else:
        table(figures)


def gateway(figures: dict[str, Any]) -> None:
    """Print what `bench.gateway` measured."""
    out = console()
    out.print("CPU in µs for one request: of the cheapest slice, and the mean of all slices")
    out.print(cells(figures["cells"]))
    slow = figures["slow_calls"]
    seconds = ", ".join(f"{side} {took:.2f} s" for side, took in slow["seconds"].items())
    memory = ", ".join(f"{part} {mib:.0f}" for part, mib in figures["peak_memory_mib"].items())
    out.print(f"{slow['calls']} concurrent calls of a tool that takes {slow['tool_seconds']:g} s: {seconds}")
    out.print(f"start to ready: {figures['seconds_to_ready']:.2f} s (budget {READY_BUDGET_SECONDS:g} s)")
    out.print(f"peak memory, MiB: {memory}")
    out.print(machine(figures))


def cells(documents: list[dict[str, Any]]) -> Table:
    """Return the table of all cells.

    What else the machine does makes a slice dearer and never cheaper, so the cheapest one is held against the budget.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("question", "at once", "way", "req/s", "p50 ms", "p99 ms", "errors"):
        table.add_column(column, justify="left" if column in ("question", "way") else "right")
    for part in (*PARTS, "gateway budget", "opa budget"):
        table.add_column(part, justify="right")
    for cell in documents:
        table.add_row(
            *(cell["ask"], str(cell["concurrency"]), cell["side"], f"{cell['requests_per_second']:,.0f}"),
            *(f"{cell['p50_ms']:.2f}", f"{cell['p99_ms']:.2f}", str(sum(cell["errors"].values()) or "")),
            *(cost(cell, part) for part in PARTS),
            *(budget(cell, part) for part in ("gateway", "opa")),
            end_section=cell["side"] == "gateway",
        )
    return table


def cost(cell: dict[str, Any], part: str) -> str:
    """Return what a process spent, nothing where it had no part in the request."""
    if cell["side"] == "direct" and part in ("gateway", "opa"):
        return ""
    return f"{cell['cheapest_slice_cpu_us'][part]:,.0f} {cell['cpu_us'][part]:,.0f}"


def budget(cell: dict[str, Any], part: str) -> str:
    """Return the budget beside a cell of the gateway, marked where it was not kept."""
    allowed = cell["budget_us"][part]
    if allowed is None or cell["side"] == "direct":
        return ""
    return f"{allowed}" if cell["cheapest_slice_cpu_us"][part] <= allowed else f"{allowed} over"


def withdrawal(figures: dict[str, Any]) -> None:
    """Print what `bench.withdrawal` measured."""
    out = console()
    out.print(f"milliseconds after the request was sent; budget {ENFORCED_BUDGET_MS:g} ms p99 when idle")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what")
    for column in ("n", "p50", "p99", "max"):
        table.add_column(column, justify="right")
    for phase in figures["phases"]:
        for name, spread in phase["milliseconds"].items():
            shown = [f"{spread.get(column, float('nan')):.1f}" for column in ("p50", "p99", "max")]
            table.add_row(f"{phase['phase']}: {name}", str(spread["n"]), *shown)
    out.print(table)
    for phase in figures["phases"]:
        out.print(f"{phase['phase']}: {phase['note']}")
    out.print(machine(figures))


def streaming(figures: dict[str, Any]) -> None:
    """Print what `bench.streaming` measured."""
    out = console()
    out.print(f"CPU in µs for one of {figures['notifications']:,} notifications: of the cheapest call, and the mean")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("written at once", "way", "gateway", "backend", "gateway budget"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for cell in figures["cells"]:
        through = cell["side"] == "gateway"
        table.add_row(
            *(str(cell["at_once"]), cell["side"]),
            *(notification_cost(cell, "gateway") if through else "", notification_cost(cell, "backend")),
            *([notification_budget(cell)] if through else [""]),
            end_section=through,
        )
    out.print(table)
    silent = figures["open"]
    over = "" if silent["kb_each"] <= silent["budget_kb"] else " over"
    out.print(
        f"{silent['streams']:,} open streams: {silent['kb_each']} KB each (budget {silent['budget_kb']}{over}); "
        f"{silent['opening_cpu_us_each']['gateway']} µs to open one; CPU while nothing happened: "
        + ", ".join(f"{part} {percent} %" for part, percent in silent["idle_cpu_percent"].items())
    )
    out.print(machine(figures))


def notification_cost(cell: dict[str, Any], part: str) -> str:
    """Return what a process spent on one notification."""
    return f"{cell['cheapest_cpu_us'][part]:.1f} {cell['mean_cpu_us'][part]:.1f}"


def notification_budget(cell: dict[str, Any]) -> str:
    """Return the budget, marked where it was not kept."""
    allowed = cell["budget_us"]
    return f"{allowed}" if cell["cheapest_cpu_us"]["gateway"] <= allowed else f"{allowed} over"


def this_machine() -> dict[str, Any]:
    """Return what figures are measured on."""
    return {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}


def machine(figures: dict[str, Any]) -> str:
    """Return what the figures were measured on, and how busy that was."""
    of, load = figures["machine"], figures["load_average"]
    return f"{of['cpus']} CPUs, {of['platform']}, Python {of['python']}; load average {load[0]} before, {load[1]} after"
