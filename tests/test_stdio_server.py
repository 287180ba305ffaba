"""Servers that are started here: found in their era, asked over one pipe, and never asked for somebody else."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from gateway.errors import UpstreamFailed
from gateway.model import ANONYMOUS
from gateway.upstream import era
from gateway.upstream.command import environment
from tests.support.local import about, asked, call, caller, local, sent, text
from tests.support.local_server import TOOLS
from tests.support.wait import until

ERAS = ("modern", "legacy", "strict")


@pytest.mark.parametrize("speaks", ERAS)
async def test_a_server_of_either_era_is_listed_and_called(speaks):
    async with local("--era", speaks) as upstreams:
        assert {tool.name for tool in await upstreams.list_tools("local")} == set(TOOLS)
        assert (await call(upstreams, "echo", number=2**70)).member("arguments") == {"number": 2**70}


async def test_a_server_that_says_nothing_to_the_probe_is_taken_for_an_older_one(tmp_path):
    patience, era.SILENCE_SECONDS = era.SILENCE_SECONDS, 0.05
    try:
        async with local("--era", "mute", "--trace", tmp_path / "trace") as upstreams:
            assert await upstreams.list_tools("local")
            await call(upstreams, "echo")
    finally:
        era.SILENCE_SECONDS = patience
    methods = [one["method"] for one in sent(tmp_path / "trace")]
    handshake = ["initialize", "notifications/initialized"]
    # Once it is known to be older, its processes are not asked first any more.
    assert methods == ["server/discover", *handshake, "tools/list", *handshake, "tools/call"]


async def test_a_server_that_ends_at_the_probe_is_started_again_for_a_handshake(tmp_path):
    async with local("--era", "strict", "--trace", tmp_path / "trace") as upstreams:
        await upstreams.list_tools("local")
        await call(upstreams, "echo")
    methods = [one["method"] for one in sent(tmp_path / "trace")]
    assert methods.count("server/discover") == 1
    assert methods.count("initialize") == 2


async def test_tenants_and_callers_without_one_never_share_a_process():
    owners = [
        caller("tenant:a"), caller("tenant:b"), caller(None, "user:jo"), caller(None, "user:al"), ANONYMOUS,
    ]  # fmt: skip
    async with local() as upstreams:
        for number, owner in enumerate(owners):
            await call(upstreams, "remember", owner, what=str(number))
        remembered = [await text(upstreams, "recall", owner) for owner in owners]
        assert remembered == [str(number) for number in range(len(owners))]
        assert len({(await about(upstreams, owner))["pid"] for owner in owners}) == len(owners)


async def test_the_people_of_one_tenant_share_its_process():
    async with local() as upstreams:
        await call(upstreams, "remember", caller("tenant:a", "user:jo"), what="a word")
        assert await text(upstreams, "recall", caller("tenant:a", "user:al")) == "a word"


async def test_the_process_that_is_listed_is_nobodys_and_ends_with_the_listing(tmp_path):
    async with local("--trace", tmp_path / "trace") as upstreams:
        await asyncio.gather(*(upstreams.list_tools("local") for _ in range(3)))
        await upstreams.list_tools("local")
        await call(upstreams, "echo")
        methods = [one["method"] for one in sent(tmp_path / "trace")]
        assert methods.count("tools/list") == 1
        assert len(upstreams.slots) == 1


async def test_answers_find_their_requests_in_whatever_order_they_come():
    async with local() as upstreams:
        keys = [str(number) for number in range(50)]

        async def hold(key: str):
            assert await text(upstreams, "hold", key=key) == f"released {key}"

        held = [asyncio.create_task(hold(key)) for key in keys]
        random.shuffle(keys)
        await asyncio.gather(*(call(upstreams, "release", key=key) for key in keys))
        await asyncio.gather(*held)


async def test_a_thousand_interleaved_calls_of_two_tenants_never_meet():
    async with local() as upstreams:

        async def one(number: int):
            who = caller(f"tenant:{number % 2}")
            assert (await call(upstreams, "echo", who, n=number)).member("arguments") == {"n": number}

        await asyncio.gather(*(one(number) for number in range(1000)))


async def test_a_call_that_is_given_up_is_taken_back_and_its_answer_dropped(tmp_path):
    for speaks in ("modern", "legacy"):
        trace = tmp_path / speaks
        async with local("--era", speaks, "--trace", trace) as upstreams:
            await call(upstreams, "echo")
            held = asyncio.create_task(call(upstreams, "hold", key="k"))
            (given_up,) = await until(lambda: asked(trace, "hold"))  # noqa: B023 (awaited here)
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)
            # What it says late reaches nobody.
            assert await text(upstreams, "release", key="k") == "done"
            assert (await about(upstreams))["cancelled"] == [given_up["id"]]


async def test_an_answer_that_takes_too_long_fails_its_call_alone():
    async with local(timeout_seconds=0.2) as upstreams:
        await call(upstreams, "remember", what="still here")
        with pytest.raises(UpstreamFailed, match=r"gave no answer within 0\.2 s"):
            await call(upstreams, "asleep")
        assert await text(upstreams, "recall") == "still here"


async def test_what_a_server_asks_of_a_call_that_can_answer_nothing_is_refused():
    async with local("--era", "legacy") as upstreams:
        assert json.loads(await text(upstreams, "ask", method="ping")) == {}
        refused = json.loads(await text(upstreams, "ask", method="sampling/createMessage"))
        assert refused["code"] == -32601


async def test_one_process_has_so_many_requests_under_way_and_no_more(tmp_path):
    async with local("--trace", tmp_path / "trace", max_concurrent_requests=2) as upstreams:
        held = [asyncio.create_task(call(upstreams, "hold", key=str(key))) for key in range(2)]
        await until(lambda: len(asked(tmp_path / "trace", "hold")) == 2)
        with pytest.raises(UpstreamFailed, match="too many requests under way"):
            await call(upstreams, "echo")
        # Those of one tenant take nothing from another.
        await call(upstreams, "echo", caller("tenant:b"))
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert await about(upstreams)


async def test_nothing_of_a_request_is_in_a_command_line_and_nothing_of_the_gateway_in_an_environment(tmp_path):
    async with local("--era", "modern", folder=tmp_path, environment={"TOKEN": "s3cret"}) as upstreams:
        found = await about(upstreams)
        assert found["argv"][1:] == ["--era", "modern"]
        assert found["cwd"] == str(tmp_path)
        assert found["environment"]["TOKEN"] == "s3cret"
        inherited = {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"}
        assert set(found["environment"]) <= inherited | {"TOKEN"}
        assert "s3cret" not in command_line(found["parent"])


def test_a_process_speaks_utf_8_where_the_gateway_says_nothing_of_a_language():
    assert environment({}, {"PATH": "/bin", "SECRET": "s"}) == {"LANG": "C.UTF-8", "PATH": "/bin"}
    assert environment({"PATH": "/opt"}, {"PATH": "/bin", "LANG": "de_DE"}) == {"LANG": "de_DE", "PATH": "/opt"}


async def test_a_message_is_one_line_to_a_server_whoever_wrote_what_is_in_it(tmp_path):
    async with local("--trace", tmp_path / "trace") as upstreams:
        await about(upstreams)
        with upstreams._generations.newest["local"]._taken(caller()) as seat:
            await seat.running.pipe.tell(b'{"jsonrpc":"2.0",\n"method":\r"notifications/nothing"}', {})
            await call(upstreams, "echo")
    assert [one["method"] for one in sent(tmp_path / "trace")][-2:] == ["notifications/nothing", "tools/call"]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
