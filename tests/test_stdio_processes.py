"""Processes of servers that are started here: how they begin, how they end, how many there are, and what they say."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from pathlib import Path

import pytest

from gateway.errors import UpstreamFailed
from gateway.upstream import process, processes
from gateway.upstream.owner import Owner
from gateway.upstream.pool import Upstreams
from gateway.upstream.slots import NoRoom, Slots
from gateway.upstream.stderr import Voice
from gateway.upstream.target import StdioTarget
from tests.support.clock import Clock
from tests.support.local import about, asked, call, caller, command, local, sent, text
from tests.support.processes import alive
from tests.support.wait import until


@contextlib.contextmanager
def hasty():
    """Give processes less time to end by themselves."""
    before = process.EOF_SECONDS, process.TERM_SECONDS
    process.EOF_SECONDS = process.TERM_SECONDS = 0.05
    try:
        yield
    finally:
        process.EOF_SECONDS, process.TERM_SECONDS = before


@contextlib.contextmanager
def listened_to(size, seconds):
    """Read no more of a stderr than so many bytes at a time, with a pause between."""
    before = process.STDERR_BYTES, process.STDERR_SECONDS
    process.STDERR_BYTES, process.STDERR_SECONDS = size, seconds
    try:
        yield
    finally:
        process.STDERR_BYTES, process.STDERR_SECONDS = before


async def gone(pid: int) -> None:
    await until(lambda: not alive(pid), what=f"process {pid} is gone")


async def test_a_process_that_nobody_uses_for_long_enough_is_ended_and_started_again_when_it_is_wanted():
    async with local(idle_seconds=0.05) as upstreams:
        first = (await about(upstreams))["pid"]
        await gone(first)
        assert (await about(upstreams))["pid"] != first


async def test_a_process_that_is_at_work_is_not_idle(tmp_path):
    async with local("--trace", tmp_path / "trace", idle_seconds=0.01) as upstreams:
        held = asyncio.create_task(text(upstreams, "hold", key="k"))
        await until(lambda: asked(tmp_path / "trace", "hold"))
        await asyncio.sleep(0.05)
        await call(upstreams, "release", key="k")
        assert await held == "released k"


async def test_what_was_under_way_when_a_process_ended_fails_and_is_not_sent_again(tmp_path):
    async with local("--trace", tmp_path / "trace") as upstreams:
        held = asyncio.create_task(call(upstreams, "hold", key="k"))
        await until(lambda: asked(tmp_path / "trace", "hold"))
        with pytest.raises(UpstreamFailed, match="ended before it answered"):
            await call(upstreams, "leave", status=3)
        with pytest.raises(UpstreamFailed, match="ended before it answered"):
            await held
        await until_started_again(upstreams)
        assert len(asked(tmp_path / "trace", "hold")) == len(asked(tmp_path / "trace", "leave")) == 1


async def failure(upstreams):
    try:
        await call(upstreams, "echo")
    except UpstreamFailed as error:
        return error.why
    return None


async def until_started_again(upstreams):
    async def starts():
        return await failure(upstreams) is None

    await until(starts)


async def test_a_process_that_ends_at_once_is_started_again_less_and_less_often():
    clock = Clock()
    async with local(options={"clock": clock}) as upstreams:
        waits = []
        for _ in range(4):
            with pytest.raises(UpstreamFailed, match="ended before it answered"):
                await call(upstreams, "leave", status=1)
            waited = 0.0
            while why := await failure(upstreams):
                assert "is started again" in why
                clock.advance(0.5)
                waited += 0.5
            waits.append(waited)
            # Others are not put off.
            await call(upstreams, "echo", caller("tenant:b"))
        assert waits == [0.5, 1.0, 2.0, 4.0]
        clock.advance(processes.RAN_WELL_SECONDS)
        with pytest.raises(UpstreamFailed, match="ended before it answered"):
            await call(upstreams, "leave", status=1)
        await call(upstreams, "echo")


async def test_a_stop_closes_stdin_then_sends_sigterm_and_kills_in_the_end():
    async with local() as upstreams:
        polite = (await about(upstreams))["pid"]
    assert not alive(polite)
    with hasty():
        async with local("--stubborn") as upstreams:
            stubborn = (await about(upstreams))["pid"]
        assert not alive(stubborn)


async def test_a_server_that_heeds_sigterm_alone_is_told_so_before_anything_is_killed(caplog):
    caplog.set_level(logging.INFO)
    with hasty():
        process.TERM_SECONDS = 30.0
        async with local("--lingering") as upstreams:
            await about(upstreams)
    # What a kill leaves is 137.
    assert "has ended with status 5" in caplog.text


async def test_a_guard_that_its_server_has_stopped_ends_everything_all_the_same():
    with hasty():
        async with local("--stubborn") as upstreams:
            found = await about(upstreams)
            child = int(await text(upstreams, "spawn"))
            os.kill(found["parent"], signal.SIGSTOP)
        assert not any(map(alive, (found["pid"], found["parent"], child)))


async def test_a_chain_of_processes_that_are_over_before_they_can_be_killed_is_ended(tmp_path):
    with hasty():
        async with local() as upstreams:
            assert await text(upstreams, "hop", file=str(tmp_path / "lock")) == "hopping"
            with (tmp_path / "lock").open("a") as file:
                await until(lambda: not is_free(file))
        with (tmp_path / "lock").open("a") as file:
            assert is_free(file)


def is_free(file) -> bool:
    """Whether nobody holds the lock of a file; it is ours then until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


async def test_what_a_server_has_started_ends_with_it_even_in_a_session_of_its_own():
    async with local() as upstreams:
        children = [int(await text(upstreams, "spawn")) for _ in range(2)]
        assert all(map(alive, children))
        with pytest.raises(UpstreamFailed):
            await call(upstreams, "leave", status=0)
        for pid in children:
            await gone(pid)
        await until_started_again(upstreams)
        last = int(await text(upstreams, "spawn"))
    assert not alive(last)


async def test_a_command_that_is_not_there_fails_every_call_with_a_clear_word(tmp_path, caplog):
    async def why(target: StdioTarget) -> str:
        upstreams = Upstreams({"local": target})
        try:
            with pytest.raises(UpstreamFailed) as failed:
                await upstreams.list_tools("local")
            with pytest.raises(UpstreamFailed) as again:
                await call(upstreams, "echo")
            assert again.value.why == failed.value.why
            return failed.value.why
        finally:
            await upstreams.close()

    (tmp_path / "script").write_text("not executable")
    for words in (("no-such-program",), ("./no-such-program",), ("./script",)):
        assert "its command is not there" in await why(StdioTarget("local", words, directory=tmp_path))
    assert "its folder is not there" in await why(StdioTarget("local", command(), directory=tmp_path / "none"))
    assert await why(StdioTarget("local", ("sh", "-c", "exit 3"))) == "ended before it answered"
    assert "there is no program no-such-program in the PATH" in caplog.text
    assert "may not be executed" in caplog.text


async def test_a_process_that_never_speaks_is_given_up_after_its_time_to_start():
    with hasty():
        async with local("--deaf", start_seconds=0.2, timeout_seconds=0.1) as upstreams:
            with pytest.raises(UpstreamFailed, match=r"gave no answer within 0\.2 s"):
                await upstreams.list_tools("local")
            # A call waits no longer than it would for an answer; the process has its whole time all the same.
            with pytest.raises(UpstreamFailed, match=r"was not ready within 0\.1 s"):
                await call(upstreams, "echo")
            await until(lambda: not len(upstreams.slots))


async def test_a_process_that_was_not_ready_in_time_for_one_call_is_found_by_the_next(tmp_path):
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    async with local("--trace", trace, "--gate", gate, timeout_seconds=0.3) as upstreams:
        with pytest.raises(UpstreamFailed, match=r"was not ready within 0\.3 s"):
            await call(upstreams, "echo")
        gate.touch()
        await until_started_again(upstreams)
    assert [one["method"] for one in sent(trace)].count("server/discover") == 1


async def test_a_process_whose_last_word_is_that_it_speaks_the_protocol_was_not_started(tmp_path):
    clock = Clock()
    async with local("--era", "parting", "--trace", tmp_path / "trace", options={"clock": clock}) as upstreams:
        for starts in (1, 2):
            with pytest.raises(UpstreamFailed, match="ended before it answered"):
                await call(upstreams, "echo")
            assert "is started again" in str(await failure(upstreams))
            assert [one["method"] for one in sent(tmp_path / "trace")].count("server/discover") == starts
            clock.advance(10)
        await until(lambda: not len(upstreams.slots))


async def test_a_start_that_is_given_up_takes_no_place():
    for steps in range(6):
        async with local() as upstreams:
            starting = asyncio.create_task(upstreams._generations.newest["local"]._starter.start(caller()))
            for _ in range(steps):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await until(lambda: not len(upstreams.slots))


async def test_a_server_that_does_not_read_is_written_no_more_than_it_takes_and_loses_nothing():
    async with local() as upstreams:
        pid = (await about(upstreams))["pid"]
        stdin = (await running(upstreams)).pipe.process._stdin
        os.kill(pid, signal.SIGSTOP)
        try:
            texts = [str(number) * 100_000 for number in range(10)]
            calls = [asyncio.create_task(call(upstreams, "echo", text=one)) for one in texts * 4]
            await until(stdin.get_write_buffer_size)
            await asyncio.sleep(0)
            assert stdin.get_write_buffer_size() < 500_000
        finally:
            os.kill(pid, signal.SIGCONT)
        answers = await asyncio.gather(*calls)
        assert [answer.member("arguments")["text"] for answer in answers] == texts * 4


async def running(upstreams, who=None):
    """Return the process of a caller."""
    with upstreams._generations.newest["local"]._taken(who or caller()) as seat:
        return seat.running


async def test_a_line_has_a_bound_and_long_ones_below_it_arrive_whole():
    with hasty():
        async with local() as upstreams:
            assert len(await text(upstreams, "long", size=8 * 1024 * 1024)) == 8 * 1024 * 1024
            with pytest.raises(UpstreamFailed, match="wrote a line of more than 16 MiB"):
                await call(upstreams, "long", size=17 * 1024 * 1024)


async def test_who_floods_its_stdout_with_what_nobody_asked_for_is_ended():
    with hasty():
        async with local() as upstreams:
            with pytest.raises(UpstreamFailed, match="says too much that nobody asked for"):
                await call(upstreams, "flood", size=20_000_000)


@pytest.mark.parametrize("line", ["", " ", "no message", "[]", '{"jsonrpc":"2.0","id":0,"result":{}}'])
async def test_however_little_each_line_says_a_flood_of_them_ends_its_process(line):
    with hasty():
        async with local() as upstreams:
            with pytest.raises(UpstreamFailed, match="says too much that nobody asked for"):
                await call(upstreams, "babble", line=line, times=70_000)


async def test_what_is_no_message_on_stdout_is_passed_over_and_said_once(caplog):
    async with local() as upstreams:
        for line in ("Listening…", "[]", '{"jsonrpc":"2.0","id":99,"result":{}}', "", '{"jsonrpc":"2.0","id":{}}'):
            assert await text(upstreams, "write", line=line) == "written"
    assert caplog.text.count("writes to its stdout what is no message") == 1


async def test_stderr_is_in_the_log_line_by_line_and_no_more_than_can_be_read(caplog):
    caplog.set_level(logging.INFO)
    async with local() as upstreams:
        await call(upstreams, "complain", text="\x1b[31mred")
        await call(upstreams, "complain", text="y" * 100_000)
        await call(upstreams, "complain", text="again", times=1000)
    said = [record.getMessage() for record in caplog.records if " says: " in record.getMessage()]
    assert said[0] == "local (tenant tenant:a) says: \x1b[31mred"
    assert said[1].endswith("y" * 100)
    assert len(said[1]) < 2200
    assert len(said) == 200
    assert "said 802 lines more, which are left out" in caplog.text


async def test_who_floods_its_stderr_is_read_a_while_later_and_still_answers(caplog):
    caplog.set_level(logging.INFO)
    async with local() as upstreams:
        with listened_to(64 * 1024, 0.001):
            # Many times what is read at once: it is read on after each pause.
            assert await text(upstreams, "complain", text="", times=1_000_000) == "complained"
            assert await text(upstreams, "complain", text="the end") == "complained"
        with listened_to(64 * 1024, 3600.0), hasty():
            flooding = asyncio.create_task(call(upstreams, "complain", text="x" * 100, times=10_000))
            stderr = (await running(upstreams)).pipe.process._transport.get_pipe_transport(2)
            await until(lambda: not stderr.is_reading())
            assert await text(upstreams, "recall") == ""
            assert not flooding.done()
            flooding.cancel()
            await upstreams.close()
    said = [record.getMessage() for record in caplog.records if "stdio" in record.name]
    assert sum(" says: " in one for one in said) <= 200
    assert any("lines more, which are left out" in one for one in said)


async def test_the_last_words_of_a_flood_are_known():
    voice = Voice("local", Clock())
    voice.hear(b"x\n" * 500 + b"why it\n\n ended\n\n")
    assert voice.last_words == " ended"
    for words in (b"and", b" this", b"\n", b"\n\n", b"not yet"):
        voice.hear(words)
    assert voice.last_words == "and this"


async def test_a_process_that_says_its_tools_are_others_has_them_listed_anew():
    async with local() as upstreams:
        before = await upstreams.list_tools("local")
        assert await upstreams.list_tools("local") is before
        await call(upstreams, "grow", name="extra")
        after = await upstreams.list_tools("local")
        # What that one process offers is its owner's: a fresh one was asked.
        assert after is not before
        assert after == before


async def test_tools_are_listed_anew_after_an_hour_by_a_process_that_is_not_kept(tmp_path):
    clock = Clock()
    async with local("--trace", tmp_path / "trace", options={"clock": clock}) as upstreams:
        for listed, minutes in ((1, 0), (1, 60), (2, 1)):
            clock.advance(60 * minutes)
            await upstreams.list_tools("local")
            assert [one["method"] for one in sent(tmp_path / "trace")].count("tools/list") == listed
            await until(lambda: not len(upstreams.slots))


async def test_there_are_only_so_many_processes_in_all_and_the_longest_idle_makes_room(tmp_path):
    clock = Clock()
    async with local("--trace", tmp_path / "trace", options={"clock": clock}) as upstreams:
        upstreams.slots.resize(2, 2)
        pids = {}
        for tenant in ("a", "b", "c"):
            pids[tenant] = (await about(upstreams, caller(tenant)))["pid"]
            clock.advance(1)
        assert not alive(pids["a"])
        assert len(upstreams.slots) == 2
        held = [asyncio.create_task(call(upstreams, "hold", caller(tenant), key="k")) for tenant in ("b", "c")]
        await until(lambda: len(asked(tmp_path / "trace", "hold")) == 2)
        with pytest.raises(UpstreamFailed, match="has no room to run"):
            await call(upstreams, "echo", caller("a"))
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await call(upstreams, "echo", caller("a"))


async def test_a_tenant_makes_room_for_itself_and_takes_none_from_others():
    slots = Slots(most=4, most_of_one=2)
    ended = []

    def idle(slot, name, since):
        async def end():
            ended.append(name)
            slots.free(slot)

        slot.idle_since, slot.end = since, end

    a, b = Owner(tenant="a"), Owner(tenant="b")
    idle(await slots.take(b), "b1", 0.0)
    idle(await slots.take(a), "a1", 2.0)
    idle(await slots.take(a), "a2", 1.0)
    busy = await slots.take(a)
    assert ended == ["a2"]
    await slots.take(None)
    assert ended == ["a2"]
    await slots.take(Owner(tenant="c"))
    assert ended == ["a2", "b1"]
    assert busy.idle_since is None
    await slots.take(a)
    assert ended == ["a2", "b1", "a1"]
    with pytest.raises(NoRoom):
        await slots.take(a)


async def test_a_server_that_is_taken_out_of_the_configuration_finishes_what_it_has_begun(tmp_path):
    async with local("--trace", tmp_path / "trace") as upstreams:
        held = asyncio.create_task(text(upstreams, "hold", key="k"))
        await until(lambda: asked(tmp_path / "trace", "hold"))
        releasing = asyncio.create_task(call(upstreams, "release", key="k"))
        await asyncio.sleep(0)
        upstreams.replace({})
        with pytest.raises(UpstreamFailed, match="is not configured"):
            await call(upstreams, "echo")
        assert await held == "released k"
        await releasing
        await until(lambda: not len(upstreams.slots))


async def test_an_unchanged_server_keeps_its_processes_over_a_reload():
    async with local() as upstreams:
        await call(upstreams, "remember", what="a word")
        upstreams.replace({"local": StdioTarget("local", command(), directory=Path())})
        assert await text(upstreams, "recall") == "a word"
        upstreams.replace({"local": StdioTarget("local", command(), directory=Path(), environment={"A": "b"})})
        assert await text(upstreams, "recall") == ""


async def test_what_a_process_is_sent_is_one_line_a_message(tmp_path):
    async with local("--trace", tmp_path / "trace") as upstreams:
        await call(upstreams, "echo", text="two\nlines\r\n\u2028")
    (message,) = asked(tmp_path / "trace", "echo")
    assert message["params"]["arguments"] == {"text": "two\nlines\r\n\u2028"}
    assert len(sent(tmp_path / "trace")) == 2
