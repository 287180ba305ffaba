"""Sync's HTTP: when a poll is answered and when it is held, and who may ask for what."""

from __future__ import annotations

import asyncio
import io
import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bundles.elsewhere import LEASE_SECONDS, RENEWAL_SECONDS
from tests.support.clock import Clock
from tests.support.sync import Polled, Sync
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAMES = ("policy", "custom", "tenants", "live")
BUNDLE_TYPE = "application/vnd.openpolicyagent.bundles"


@pytest.fixture
async def sync(tmp_path: Path) -> AsyncIterator[Sync]:
    async with Sync(tmp_path) as running:
        yield running


async def held(sync: Sync, name: str, replica: str = "gw-1", wait: int = 20) -> asyncio.Task[Polled]:
    """Start a poll that names what is served, and return it once sync holds it."""
    token = await sync.token(replica)
    current = await sync.poll(name, token)
    poll = asyncio.create_task(sync.poll(name, token, current.etag, wait))
    await until(lambda: name in sync.service.publisher.replicas.describe(replica)["polling"])
    return poll


@pytest.mark.parametrize("name", NAMES)
async def test_a_first_poll_is_answered_at_once_in_the_form_that_keeps_opa_polling(sync: Sync, name: str) -> None:
    polled = await sync.poll(name, await sync.token("gw-1"), wait=20)
    assert (polled.status, polled.content_type) == (200, BUNDLE_TYPE)
    assert polled.etag is not None
    assert polled.etag.startswith(f'"{name}-{sync.service.publisher.epoch}-')
    assert polled.manifest["revision"].startswith("r")


async def test_a_poll_that_names_something_else_is_answered_at_once(sync: Sync) -> None:
    assert (await sync.poll("live", await sync.token("gw-1"), '"live-other-1.1"', wait=20)).status == 200


async def test_a_poll_that_names_what_is_served_is_held_until_there_is_news(sync: Sync) -> None:
    poll = await held(sync, "live")
    await asyncio.sleep(0.1)
    assert not poll.done()
    revision = await sync.withdraw("refund")
    polled = await asyncio.wait_for(poll, 5)
    assert (polled.status, polled.data["revision"]) == (200, revision)


async def test_a_wait_is_never_answered_before_its_end_without_news(sync: Sync) -> None:
    loop = asyncio.get_running_loop()
    token = await sync.token("gw-1")
    current = await sync.poll("tenants", token)
    before = loop.time()
    answers = await asyncio.gather(*[sync.poll("tenants", token, current.etag, wait=1) for _ in range(3)])
    assert [answer.status for answer in answers] == [304] * 3
    assert loop.time() - before >= 1


async def test_without_a_wait_what_is_served_is_answered_304_at_once(sync: Sync) -> None:
    token = await sync.token("gw-1")
    current = await sync.poll("policy", token)
    assert (await sync.poll("policy", token, current.etag)).status == 304


async def test_a_withdrawal_leaves_the_other_bundles_polls_held(sync: Sync) -> None:
    polls = [await held(sync, name) for name in ("policy", "custom", "tenants")]
    live = await held(sync, "live")
    await sync.withdraw("refund")
    assert (await asyncio.wait_for(live, 5)).status == 200
    assert not any(poll.done() for poll in polls)
    for poll in polls:
        poll.cancel()


async def test_a_manifest_keeps_the_revision_at_which_its_content_last_changed(sync: Sync) -> None:
    token = await sync.token("gw-1")
    before = (await sync.poll("tenants", token)).manifest["revision"]
    revision = await sync.withdraw("refund")
    await until(lambda: sync.service.publisher.revision == revision)
    assert (await sync.poll("tenants", token)).manifest["revision"] == before
    assert (await sync.poll("live", token)).manifest["revision"] == f"r{revision}"


async def test_a_client_that_goes_away_is_not_counted_as_polling(sync: Sync) -> None:
    poll = await held(sync, "live")
    poll.cancel()
    await until(lambda: sync.service.publisher.replicas.describe("gw-1")["polling"] == [])


async def test_a_bundle_that_does_not_exist_is_404(sync: Sync) -> None:
    assert (await sync.poll("other", await sync.token("gw-1"))).status == 404


@pytest.mark.parametrize("token", ["", "wrong", "x" * 5000, "é"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/bundles/live"), ("POST", "/status/gw-1"), ("POST", "/changed"), ("GET", "/revisions/1"),
        ("GET", "/replicas"),
    ],
)  # fmt: skip
async def test_nothing_is_said_without_a_token(sync: Sync, method: str, path: str, token: str) -> None:
    await sync.token("gw-1")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with sync.http.request(method, sync.url + path, headers=headers) as response:
        assert response.status == 401
        assert await sync.token("gw-1") not in await response.text()


async def test_a_replicas_token_reads_bundles_and_posts_its_own_status_only(sync: Sync) -> None:
    mine = {"Authorization": f"Bearer {await sync.token('gw-1')}"}
    await sync.token("gw-2")
    await sync.poll("live", await sync.token("gw-1"))
    cases = {
        ("POST", "/status/gw-1"): 200, ("POST", "/status/gw-2"): 403, ("POST", "/changed"): 401,
        ("GET", "/revisions/1"): 401, ("GET", "/replicas"): 401,
    }  # fmt: skip
    for (method, path), status in cases.items():
        async with sync.http.request(method, sync.url + path, headers=mine, json={}) as response:
            assert (path, response.status) == (path, status)


async def test_the_gateways_token_reads_no_bundle(sync: Sync) -> None:
    assert (await sync.poll("live", sync.control)).status == 401


async def test_two_tokens_at_once_are_none(sync: Sync) -> None:
    headers = [("Authorization", f"Bearer {await sync.token('gw-1')}"), ("Authorization", f"Bearer {sync.control}")]
    async with sync.http.get(f"{sync.url}/bundles/live", headers=headers) as response:
        assert response.status == 401


async def test_a_replica_that_has_just_registered_is_known_at_its_first_poll(sync: Sync) -> None:
    for number in range(5):
        assert (await sync.poll("live", await sync.token(f"gw-{number}"))).status == 200


async def test_a_forgotten_replicas_token_is_worth_nothing(sync: Sync) -> None:
    token = await sync.token("gw-1")
    assert (await sync.poll("live", token)).status == 200
    await sync.ledger.forget_replica("gw-1")
    await until(lambda: not sync.service.publisher.replicas.counted())
    assert (await sync.poll("live", token)).status == 401


async def test_a_status_post_keeps_the_error_text_until_it_is_cleared(sync: Sync) -> None:
    headers = {"Authorization": f"Bearer {await sync.token('gw-1')}"}
    failed = {"bundles": {"live": {"code": "bundle_error", "message": "scope mismatch", "errors": [{"message": "x"}]}}}
    for status, expected in ((failed, {"live": "scope mismatch: x"}), ({"bundles": {"live": {}}}, {})):
        async with sync.http.post(f"{sync.url}/status/gw-1", headers=headers, json=status) as response:
            assert response.status == 200
        (replica,) = (await sync.control_get("/replicas"))["replicas"]
        assert replica["errors"] == expected


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"{", {}, 400), (b"[]", {}, 400), (b"x" * (2 << 20), {}, 413), (b"{}", {"Content-Encoding": "gzip"}, 415),
        (b'{"bundles": [1]}', {}, 200), (b'{"bundles": {"live": 1, "x": {"code": 1, "errors": 5}}}', {}, 200),
    ],
)  # fmt: skip
async def test_a_status_post_of_any_shape_is_survived(
    sync: Sync, body: bytes, headers: dict[str, str], expected: int
) -> None:
    given = {"Authorization": f"Bearer {await sync.token('gw-1')}", **headers}
    async with sync.http.post(f"{sync.url}/status/gw-1", headers=given, data=io.BytesIO(body)) as response:
        assert response.status == expected


async def test_health_needs_no_token(sync: Sync) -> None:
    async with sync.http.get(f"{sync.url}/health") as response:
        health = await response.json()
    assert (response.status, health["status"]) == (200, "ok")
    assert health["revision"] == (await sync.ledger.meta()).revision


async def test_progress_is_told_as_soon_as_all_counted_replicas_have_it(sync: Sync) -> None:
    one, two = await sync.token("gw-1"), await sync.token("gw-2")
    revision = await sync.withdraw("refund")
    waiting = asyncio.create_task(sync.applied(revision, wait=20))
    await until(lambda: sync.service.publisher.revision >= revision)
    for name in NAMES:
        etag = (await sync.poll(name, one)).etag
        await sync.poll(name, one, etag)
    assert not waiting.done()
    assert await sync.applied(revision, wait=0) == (["gw-1"], ["gw-1", "gw-2"])
    for name in NAMES:
        etag = (await sync.poll(name, two)).etag
        await sync.poll(name, two, etag)
    assert await asyncio.wait_for(waiting, 5) == (["gw-1", "gw-2"], ["gw-1", "gw-2"])


async def test_many_may_wait_for_revisions_at_once(sync: Sync) -> None:
    token = await sync.token("gw-1")
    revisions = [await sync.withdraw(tool) for tool in ("charge", "refund", "beta_tool")]
    waits = [asyncio.create_task(sync.applied(revision, wait=20)) for revision in revisions * 20]
    await until(lambda: sync.service.publisher.revision >= revisions[-1])
    for name in NAMES:
        await sync.poll(name, token, (await sync.poll(name, token)).etag)
    assert await asyncio.wait_for(asyncio.gather(*waits), 10) == [(["gw-1"], ["gw-1"])] * 60


async def test_progress_that_does_not_come_is_told_at_the_end_of_the_wait(sync: Sync) -> None:
    await sync.token("gw-1")
    assert await sync.applied(await sync.withdraw("refund"), wait=0.1) == ([], ["gw-1"])


async def test_without_replicas_there_is_nothing_to_wait_for(sync: Sync) -> None:
    assert await asyncio.wait_for(sync.applied(await sync.withdraw("refund"), wait=20), 5) == ([], [])


@pytest.mark.parametrize("wait", ["-1", "x", "1e9", "99999", "nan"])
async def test_a_wait_that_is_no_short_time_is_refused(sync: Sync, wait: str) -> None:
    headers = {"Authorization": f"Bearer {sync.control}"}
    async with sync.http.get(f"{sync.url}/revisions/1?wait={wait}", headers=headers) as response:
        assert response.status == 400


async def test_a_replica_silent_for_too_long_counts_no_more_where_staleness_denies(tmp_path: Path) -> None:
    clock, config = Clock(1000), "opa: {on_stale: deny, max_staleness_seconds: 60}\n"
    async with Sync(tmp_path, config, monotonic=clock) as sync:
        counted = sync.service.publisher.replicas.counted
        poll = await held(sync, "policy", "gw-1")
        await sync.poll("policy", await sync.token("gw-2"))
        await sync.token("gw-3")
        await until(lambda: counted() == ["gw-1", "gw-2", "gw-3"])
        clock.advance(60)
        assert counted() == ["gw-1", "gw-2", "gw-3"]
        clock.advance(1)
        assert counted() == ["gw-1", "gw-3"]
        # One that has never polled this sync may poll another, which may take so long to be missed.
        clock.advance(RENEWAL_SECONDS + LEASE_SECONDS)
        assert counted() == ["gw-1"]
        poll.cancel()


async def test_before_the_ledger_was_read_nothing_is_served(tmp_path: Path) -> None:
    sync = Sync(tmp_path)
    sync.ledger_path = tmp_path / "missing" / "folder" / "portcullis.db"
    (tmp_path / "missing").write_text("a file where a folder should be")
    async with aiohttp.ClientSession() as session:
        sync.http = session
        await sync.start(ready=False)
        try:
            assert (await sync.poll("live", "anything", wait=20)).status == 503
            headers = {"Authorization": f"Bearer {sync.control}"}
            async with session.get(f"{sync.url}/revisions/1", headers=headers) as response:
                assert response.status == 503
            async with session.get(f"{sync.url}/health") as response:
                assert (response.status, (await response.json())["status"]) == (503, "starting")
        finally:
            await sync.stop()


async def test_held_polls_do_not_keep_sync_from_ending(sync: Sync) -> None:
    polls = [await held(sync, name) for name in NAMES]
    await asyncio.wait_for(sync.stop(), 5)
    for poll in polls:
        try:
            assert (await asyncio.wait_for(poll, 5)).status == 503
        except aiohttp.ClientError:
            continue
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(sync.url.rpartition(":")[2]))) != 0
