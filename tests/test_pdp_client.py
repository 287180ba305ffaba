"""The client between the gateway and OPA, against an OPA that misbehaves in every way we could think of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import DecisionUnavailable
from gateway.pdp.client import FAILURES_BEFORE_PROBING, Address, OpaClient
from tests.support.fake_opa import (
    Reply,
    Request,
    answer,
    call_decision,
    chunked,
    decided,
    fake_opa,
    fake_opa_on_tcp,
    http,
)
from tests.support.https import contexts
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATH = "/v1/data/portcullis/call/decision?strict-builtin-errors"
GOOD = answer(call_decision())


async def ask(client: OpaClient, body: bytes = b'{"input":{}}', lane: str = "a") -> bytes:
    return await client.query(PATH, body, lane=lane)


def always(reply: Reply) -> Callable[[Request], Reply]:
    return lambda _request: reply


FAULTS = {
    "500": Reply(http(b'{"code":"internal_error"}', "500 Internal Server Error")),
    "400": Reply(http(GOOD, "400 Bad Request")),
    "404": Reply(http(GOOD, "404 Not Found")),
    "201, which OPA never says": Reply(http(GOOD, "201 Created")),
    "a redirect": Reply(b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n"),
    "silence": Reply(silent=True),
    "a cut chunk": Reply(chunked(GOOD)[:-20], close=True),
    "chunks without the last one": Reply(chunked(GOOD)[:-5], close=True),
    "a cut body": Reply(http(GOOD)[:-1], close=True),
    "a body shorter than its length, open": Reply(http(GOOD)[:-1]),
    "a cut head": Reply(b"HTTP/1.1 200 OK\r\nContent-Le", close=True),
    "nothing, then closed": Reply(close=True),
    "no HTTP": Reply(b"allow: true\r\n\r\n"),
    "no length, then closed": Reply(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, close=True),
    "more than it announced": Reply(http(GOOD) + b"x"),
    "an answer above the limit": Reply(http(b"x" * 10_001)),
    "chunks above the limit": Reply(chunked(*[b"x" * 1_000] * 11)),
    "an answer that drips": Reply(http(GOOD), drip=True),
    "a coding nobody offered": Reply(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_anything_but_a_whole_200_is_no_decision_and_leaves_the_next_question_alone(fault: Reply):
    replies = iter([fault])
    async with (
        fake_opa(lambda request: next(replies, None) or decided(request)) as opa,
        OpaClient(opa.url, deadline=0.1, max_answer_bytes=10_000) as client,
    ):
        with pytest.raises(DecisionUnavailable):
            await ask(client)
        assert len(opa.requests) == 1
        assert await ask(client) == GOOD


async def test_an_opa_that_is_not_there_is_no_decision():
    async with fake_opa(decided) as opa:
        url = opa.url
    async with OpaClient(url) as client:
        with pytest.raises(DecisionUnavailable, match="cannot be reached: No such file"):
            await ask(client)


async def test_a_failing_policy_is_named_in_the_log_and_its_message_and_stack_trace_are_not():
    problem = b"""{"code": "internal_error", "message": "secret", "stack_trace": "secret", "errors": [
        {"code": "eval_builtin_error", "message": "secret", "location": {"file": "custom/x.rego", "row": 7}}]}"""
    async with fake_opa(always(Reply(http(problem, "500 Internal Server Error")))) as opa, OpaClient(opa.url) as client:
        with pytest.raises(DecisionUnavailable) as caught:
            await ask(client)
    assert str(caught.value) == "OPA answered 500: internal_error, eval_builtin_error at custom/x.rego:7"


async def test_a_question_is_one_plain_request_that_offers_no_content_coding():
    async with fake_opa(decided) as opa, OpaClient(opa.url) as client:
        await ask(client, b'{"input":{"v":1}}')
    (request,) = opa.requests
    assert request.target == PATH
    assert request.body == b'{"input":{"v":1}}'
    assert request.headers == {"host": "opa", "content-type": "application/json", "content-length": "17"}


async def test_questions_one_after_the_other_share_a_connection():
    async with fake_opa(decided) as opa, OpaClient(opa.url) as client:
        for _ in range(5):
            await ask(client)
    assert opa.connections == 1


async def test_a_long_answer_in_chunks_is_whole_and_its_connection_is_kept():
    pieces = [b"x" * size for size in (1, 4_000, 17, 60_000)]
    async with fake_opa(always(Reply(chunked(*pieces)))) as opa, OpaClient(opa.url) as client:
        assert await ask(client) == await ask(client) == b"".join(pieces)
    assert opa.connections == 1


async def test_a_question_far_larger_than_the_socket_buffer_arrives_whole():
    async with fake_opa(decided) as opa, OpaClient(opa.url, deadline=5) as client:
        await ask(client, b"x" * 3_000_000)
    assert len(opa.requests[0].body) == 3_000_000


async def test_a_connection_that_opa_closed_while_idle_is_replaced_without_a_failure():
    async with fake_opa(decided) as opa, OpaClient(opa.url) as client:
        await ask(client)
        opa.drop_connections()
        await until(lambda: opa.open == 0)
        assert await ask(client) == GOOD
    assert opa.connections == 2


async def test_a_kept_connection_closed_in_place_of_an_answer_is_asked_once_more_on_a_new_one():
    closes = iter([False, True])
    async with (
        fake_opa(lambda request: Reply(close=True) if next(closes, False) else decided(request)) as opa,
        OpaClient(opa.url) as client,
    ):
        assert await ask(client) == await ask(client) == GOOD
    assert [request.connection for request in opa.requests] == [1, 1, 2]


async def test_a_question_is_asked_at_most_twice():
    first = iter([True])
    async with (
        fake_opa(lambda request: decided(request) if next(first, False) else Reply(close=True)) as opa,
        OpaClient(opa.url) as client,
    ):
        await ask(client)
        with pytest.raises(DecisionUnavailable, match="closed the connection"):
            await ask(client)
    assert [request.connection for request in opa.requests] == [1, 1, 2]


async def test_a_kept_connection_closed_in_the_middle_of_an_answer_is_not_asked_again():
    first = iter([True])
    async with (
        fake_opa(lambda request: decided(request) if next(first, False) else Reply(http(GOOD)[:30], close=True)) as opa,
        OpaClient(opa.url) as client,
    ):
        await ask(client)
        with pytest.raises(DecisionUnavailable, match="in the middle"):
            await ask(client)
    assert len(opa.requests) == 2


async def test_bytes_that_nobody_asked_for_end_the_connection_and_answer_nobody():
    async with fake_opa(decided) as opa, OpaClient(opa.url) as client:
        await ask(client)
        opa.send_unasked(http(answer(call_decision(id="payments/forged"))))
        await until(lambda: opa.open == 0, what="the client closes the connection")
        assert await ask(client) == GOOD


async def test_a_cancelled_question_closes_its_connection_and_its_answer_meets_no_other():
    gate = asyncio.Event()

    def script(request: Request) -> Reply:
        late = request.body == b"slow"
        return Reply(http(answer(call_decision(id="payments/late"))), after=gate) if late else decided(request)

    async with fake_opa(script) as opa, OpaClient(opa.url, connections=1) as client:
        slow = asyncio.create_task(ask(client, b"slow"))
        await until(lambda: opa.requests)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        gate.set()
        assert await ask(client) == GOOD
        await until(lambda: opa.open == 1, what="the cancelled question's connection is gone")
        assert client.available


async def test_a_question_that_is_given_up_closes_its_connection_at_once():
    async with fake_opa(always(Reply(silent=True))) as opa, OpaClient(opa.url, deadline=5) as client:
        question = asyncio.create_task(ask(client))
        await until(lambda: opa.requests)
        question.cancel()
        await until(lambda: opa.open == 0, what="the cancelled question's connection is closed")
    async with fake_opa(always(Reply(silent=True))) as opa, OpaClient(opa.url, deadline=0.05) as client:
        with pytest.raises(DecisionUnavailable):
            await ask(client)
        await until(lambda: opa.open == 0, what="the late question's connection is closed")


async def test_a_cancelled_wait_for_a_connection_takes_none():
    gate = asyncio.Event()
    async with (
        fake_opa(lambda request: Reply(decided(request).data, after=gate)) as opa,
        OpaClient(opa.url, connections=1, deadline=5) as client,
    ):
        first = asyncio.create_task(ask(client))
        await until(lambda: opa.requests)
        second = asyncio.create_task(ask(client))
        await until(lambda: client.waiting == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        assert await first == await ask(client) == GOOD
        assert len(opa.requests) == 2


async def test_a_tenant_that_floods_does_not_keep_another_waiting():
    gate = asyncio.Event()
    async with (
        fake_opa(lambda request: Reply(decided(request).data, after=gate)) as opa,
        OpaClient(opa.url, connections=1, deadline=5) as client,
    ):
        flood = [asyncio.create_task(ask(client, b"flood", "flood")) for _ in range(20)]
        await until(lambda: client.waiting == 19)
        quiet = [asyncio.create_task(ask(client, name, name.decode())) for name in (b"x", b"y")]
        await until(lambda: client.waiting == 21)
        gate.set()
        await asyncio.gather(*flood, *quiet)
    assert [request.body for request in opa.requests[:4]] == [b"flood", b"flood", b"x", b"y"]


async def test_a_tenant_may_have_only_so_many_questions_waiting():
    gate = asyncio.Event()
    async with (
        fake_opa(lambda request: Reply(decided(request).data, after=gate)) as opa,
        OpaClient(opa.url, connections=1, waiting_per_lane=2, deadline=5) as client,
    ):
        waiting = [asyncio.create_task(ask(client)) for _ in range(3)]
        await until(lambda: client.waiting == 2)
        with pytest.raises(DecisionUnavailable, match="waiting"):
            await ask(client)
        other = asyncio.create_task(ask(client, lane="b"))
        gate.set()
        assert await asyncio.gather(*waiting, other) == [GOOD] * 4


async def test_no_more_connections_are_open_than_allowed():
    async with fake_opa(decided) as opa, OpaClient(opa.url, connections=3, deadline=5) as client:
        assert await asyncio.gather(*(ask(client, lane=str(n)) for n in range(50))) == [GOOD] * 50
    assert opa.connections <= 3


async def fail_until_probing(client: OpaClient) -> None:
    for _ in range(FAILURES_BEFORE_PROBING):
        with pytest.raises(DecisionUnavailable, match="within the deadline"):
            await ask(client)


async def test_a_silent_opa_costs_one_question_at_a_time_its_deadline_and_heals_with_the_first_answer():
    async with fake_opa(always(Reply(silent=True))) as opa, OpaClient(opa.url, deadline=0.1) as client:
        await fail_until_probing(client)
        assert not client.available
        failed = await asyncio.gather(*(ask(client) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(error, DecisionUnavailable) for error in failed)
        assert [request.target for request in opa.requests[FAILURES_BEFORE_PROBING:]] == ["/health"]
        opa.script = decided
        assert await ask(client) == GOOD
        assert client.available


async def test_failures_with_an_answer_between_them_are_not_in_a_row():
    async with fake_opa(decided) as opa, OpaClient(opa.url) as client:
        for _ in range(3 * FAILURES_BEFORE_PROBING):
            opa.script = always(Reply(b"no HTTP\r\n\r\n"))
            with pytest.raises(DecisionUnavailable):
                await ask(client)
            opa.script = decided
            await ask(client)
    assert "/health" not in {request.target for request in opa.requests}


async def test_a_cancelled_probe_lets_the_next_question_probe():
    async with fake_opa(always(Reply(silent=True))) as opa, OpaClient(opa.url, deadline=0.1) as client:
        await fail_until_probing(client)
        probe = asyncio.create_task(ask(client))
        await until(lambda: opa.requests[-1].target == "/health")
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        opa.script = decided
        assert await ask(client) == GOOD


async def test_a_policy_that_fails_for_one_caller_does_not_count_as_an_opa_that_is_down():
    failing = Reply(http(b"{}", "500 Internal Server Error"))
    async with (
        fake_opa(lambda request: failing if request.body == b"bad" else decided(request)) as opa,
        OpaClient(opa.url) as client,
    ):
        for _ in range(4 * FAILURES_BEFORE_PROBING):
            with pytest.raises(DecisionUnavailable, match="500"):
                await ask(client, b"bad")
        assert client.available
        assert await ask(client) == GOOD
    assert opa.connections == 1


async def test_a_tenant_whose_questions_are_all_late_does_not_shut_out_another():
    slow = Reply(silent=True)
    async with (
        fake_opa(lambda request: slow if request.body == b"slow" else decided(request)) as opa,
        OpaClient(opa.url, deadline=0.1) as client,
    ):
        for _ in range(FAILURES_BEFORE_PROBING):
            with pytest.raises(DecisionUnavailable):
                await ask(client, b"slow", "slow")
        assert await ask(client, lane="other") == GOOD


async def test_closing_the_client_fails_what_is_under_way():
    async with fake_opa(always(Reply(silent=True))) as opa:
        client = OpaClient(opa.url, deadline=5)
        question = asyncio.create_task(ask(client))
        await until(lambda: opa.requests)
        await client.close()
        with pytest.raises(DecisionUnavailable):
            await question


async def test_an_opa_on_tcp_is_asked_by_its_own_name():
    async with fake_opa_on_tcp(decided) as opa, OpaClient(opa.url, deadline=5) as client:
        assert await ask(client) == await ask(client) == GOOD
    assert opa.connections == 1
    assert opa.requests[0].headers["host"] == opa.url.removeprefix("http://")


async def test_an_opa_behind_tls_is_asked_only_if_its_certificate_is_trusted(tmp_path: Path):
    inward, outward = contexts(tmp_path)
    async with fake_opa_on_tcp(decided, inward) as opa:
        async with OpaClient(opa.url, deadline=5, tls=outward) as client:
            assert await ask(client) == await ask(client) == GOOD
        async with OpaClient(opa.url, deadline=5) as client:
            with pytest.raises(DecisionUnavailable, match="certificate verify failed"):
                await ask(client)
    assert len(opa.requests) == 2


ADDRESSES = {
    "unix:///run/opa/opa.sock": Address("/run/opa/opa.sock", "opa"),
    "http://opa:8181": Address(None, "opa", 8181),
    "http://10.0.0.7": Address(None, "10.0.0.7", 80),
    "https://opa.internal/": Address(None, "opa.internal", 443, tls=True),
    "http://[::1]:8181": Address(None, "::1", 8181),
}


@pytest.mark.parametrize(("url", "address"), ADDRESSES.items())
def test_an_address_of_opa_is_a_socket_or_a_host(url: str, address: Address):
    assert Address.parse(url) == address
    assert "\r" not in address.authority


NO_ADDRESSES = [
    "opa:8181",
    "unix://",
    "unix:opa.sock",
    "unix://host/opa.sock",
    "http://",
    "http://opa/v1",
    "ftp://opa",
    "http://user:secret@opa",
    "http://opa?x=1",
    "http://opa#x",
    "https://opa:99999",
]


@pytest.mark.parametrize("url", ["", *NO_ADDRESSES])
def test_anything_else_is_no_address_of_opa(url: str):
    with pytest.raises(ValueError, match=r"not an address of OPA|Port out of range"):
        Address.parse(url)
