"""The measuring tools tell the truth: a wrong answer is never counted as a good one, percentiles are what they say."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from bench import asking, credentials, ledger
from bench.cut import CUTS
from bench.figures import Cell, percentile, spread
from bench.gateway import main
from bench.generator import Outcome, generator
from bench.load import content_length
from bench.processes import cpu_seconds, free_port
from bench.stack import Side, Tokens, backend, part_of
from bench.steps import STEPS

ROOT = Path(__file__).parent.parent

if TYPE_CHECKING:
    from collections.abc import Callable

LISTED = {"tools": [{"name": asking.tool_name(4, index)} for index in range(4)]}


def answer(result: object) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": result})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, answer(LISTED)),
        (200, answer({"tools": LISTED["tools"][:3]})),
        (200, answer({"tools": None})),
        (200, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}'),
        (200, b"not JSON"),
    ],
)
def test_an_answer_that_is_not_the_one_asked_for_stops_the_measurement(status, body):
    with pytest.raises(asking.WrongAnswer):
        asking.listing(4).require(status, body)


def test_the_answer_that_was_asked_for_is_measured():
    asking.listing(4).require(200, answer(LISTED))
    asking.calling(4).require(200, answer({"content": [], "structuredContent": asking.ARGUMENTS}))


@pytest.mark.parametrize(("share", "expected"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_the_value_that_so_many_do_not_exceed(share, expected):
    assert percentile([*range(100, 0, -1)], share) == expected


@pytest.mark.parametrize("step", STEPS)
def test_what_a_step_leaves_out_is_there_to_be_left_out(step):
    for owner, name, replacement in CUTS[step]:
        there = inspect.signature(getattr(owner, name)).parameters
        assert len(there) == len(inspect.signature(replacement).parameters) or step == "read"
        assert inspect.iscoroutinefunction(getattr(owner, name)) == inspect.iscoroutinefunction(replacement)


def test_no_values_have_no_percentile():
    assert math.isnan(percentile([], 50))
    assert spread([]) == {"n": 0}


def test_the_cheapest_slice_and_the_mean_are_told_apart():
    cell = Cell("call", 1, "gateway")
    cell.add(Outcome(1.0, {}, (100, 100), {"gateway": 0.002}))
    cell.add(Outcome(1.0, {"503": 1}, (100, 100), {"gateway": 0.006}))
    told = cell.document()
    assert (told["requests"], told["requests_per_second"], told["errors"]) == (4, 2.0, {"503": 1})
    assert (told["cpu_us"], told["cheapest_slice_cpu_us"]) == ({"gateway": 2000.0}, {"gateway": 1000.0})


def test_an_answer_without_a_length_is_refused():
    assert content_length(b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 12\r\nDate: now") == 12
    with pytest.raises(ValueError, match="without a length"):
        content_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["/somewhere/opa", "run", "--server"], "opa"),
        (["python", "-m", "gateway", "sync", "--config", "c.yaml"], "sync"),
        (["python", "-c", "pass"], "other"),
        ([], "other"),
    ],
)
def test_a_child_of_the_gateway_is_known_by_its_command_line(arguments, part):
    assert part_of(arguments) == part


def test_the_load_generator_measures_the_server_and_refuses_to_measure_another_answer(tmp_path):
    port = free_port()
    with backend(tmp_path, port, Tokens.of(port)) as server, generator() as load:
        side = Side("direct", port)

        def used() -> dict[str, float]:
            return {"backend": cpu_seconds(server.pid)}

        good = load.measure(asking.calling(4), side.job(asking.calling(4), "modern", 2) | {"count": 40}, used)
        assert (len(good.latencies), good.errors) == (40, {})
        assert good.cpu["backend"] > 0
        with pytest.raises(asking.WrongAnswer):
            load.measure(asking.listing(4), side.job(asking.listing(50), "modern", 2) | {"count": 4}, used)


async def test_an_answer_that_differs_from_the_first_is_an_error_and_not_a_request():
    seen = 0

    async def sometimes(_: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        return web.Response(body=answer(LISTED), status=200 if seen <= 6 else 503)

    app = web.Application()
    app.add_routes([web.post("/4/mcp", sometimes)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ask, side = asking.listing(4), Side("direct", runner.addresses[0][1])
        with generator() as load:
            outcome = await asyncio.to_thread(load.measure, ask, side.job(ask, "legacy", 1) | {"count": 9}, dict)
    finally:
        await runner.cleanup()
    assert len(outcome.latencies) == 5
    assert [key[:3] for key in outcome.errors] == ["503"]
    assert sum(outcome.errors.values()) == 4


def test_what_is_not_a_question_is_refused_before_anything_starts():
    with pytest.raises(SystemExit):
        main(["--only", "lists"])


def test_the_bench_of_the_ledger_measures_both_and_verifies_what_it_wrote(
    capsys: pytest.CaptureFixture[str], new_postgresql: Callable[[], str]
):
    assert ledger.main(["--events", "40", "--json", "--postgresql", new_postgresql()]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["ledgers"]) == {"sqlite", "postgresql"}
    assert all(cost["per_second"] > 0 for found in figures["ledgers"].values() for cost in found["costs"].values())
    ledger.show(figures)
    assert "event, in groups of 100" in capsys.readouterr().out


def test_the_cost_of_credentials_is_measured_for_every_kind_and_within_its_budget_in_memory():
    arguments = ["-m", "bench.credentials", "--quick", "--json"]
    run = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    figures = json.loads(run.stdout)
    assert figures["index"]["credentials"] == 1000
    assert figures["index"]["bytes_each"] < 500
    assert figures["warm_request_us"].keys() == {"none", *credentials.BUDGET_US}
