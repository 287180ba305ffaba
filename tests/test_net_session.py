"""Sessions that connect to admitted addresses only (threats A21 and A22), over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from gateway.addresses import Addresses
from gateway.net import FetchFailed, RedirectRefused, fetch_json, guarded_session, require_safe_url
from tests.support.resolver import Answers

LOCAL = Addresses.of_issuer(loopback=True)


class Backend:
    """A small server that answers what each test wants, and remembers who came."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.port = 0
        self.answer = lambda: web.json_response({"ok": True})
        self.delay = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if self.delay:
            await asyncio.sleep(self.delay)
        return self.answer()

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/document"


@asynccontextmanager
async def serving():
    backend = Backend()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", backend.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend.port = runner.addresses[0][1]
    try:
        yield backend
    finally:
        await runner.cleanup()


@pytest.fixture
async def backend():
    async with serving() as server:
        yield server


async def fetch(backend, policy=LOCAL, host="127.0.0.1", resolver=None, timeout=5.0):
    async with guarded_session(policy, resolver=resolver) as session:
        return await fetch_json(session, backend.url(host), max_bytes=1000, timeout=timeout, plain=True)


async def test_an_admitted_server_is_reached_by_address_and_by_name(backend):
    assert await fetch(backend) == {"ok": True}
    assert await fetch(backend, host="issuer.test", resolver=Answers(["127.0.0.1"])) == {"ok": True}


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.2"])
async def test_a_literal_address_that_no_resolver_sees_is_refused_at_the_socket(backend, host):
    with pytest.raises(FetchFailed, match="not an address to connect to"):
        await fetch(backend, Addresses.of_issuer(), host)
    assert backend.requests == []


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["::ffff:127.0.0.1"]],
)
async def test_one_refused_answer_among_several_refuses_the_name(backend, answers):
    with pytest.raises(FetchFailed, match="resolves to"):
        await fetch(backend, Addresses.of_issuer(), "issuer.test", Answers(answers))
    assert backend.requests == []


async def test_a_metadata_address_is_refused_even_where_loopback_is_not(backend):
    with pytest.raises(FetchFailed, match=r"169\.254\.169\.254"):
        await fetch(backend, LOCAL, "issuer.test", Answers(["127.0.0.1", "169.254.169.254"]))
    assert backend.requests == []


async def test_a_name_that_is_rebound_after_its_first_use_is_refused_at_the_next_resolution(backend):
    resolver = Answers(["127.0.0.1"], ["10.0.0.1"])
    assert await fetch(backend, LOCAL, "issuer.test", resolver) == {"ok": True}
    with pytest.raises(FetchFailed, match=r"resolves to 10\.0\.0\.1"):
        await fetch(backend, LOCAL, "issuer.test", resolver)
    assert len(backend.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_and_its_target_is_never_reached(backend, status):
    async with serving() as collector, guarded_session(LOCAL) as session:
        backend.answer = lambda: web.Response(status=status, headers={"Location": collector.url()})
        with pytest.raises(RedirectRefused):
            await session.post(backend.url(), json={"secret": 1}, headers={"X-API-Key": "mcp_secret"})
        with pytest.raises(FetchFailed):
            await fetch(backend)
        assert collector.requests == []


async def test_a_document_beyond_the_cap_is_refused(backend):
    backend.answer = lambda: web.Response(body=b'"' + b"x" * 998 + b'"')
    assert len(await fetch(backend)) == 998
    backend.answer = lambda: web.Response(body=b'"' + b"x" * 999 + b'"')
    with pytest.raises(FetchFailed, match="more than 1000 bytes"):
        await fetch(backend)


async def test_compression_is_neither_asked_for_nor_undone(backend):
    backend.answer = lambda: web.Response(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchFailed, match="compressed"):
        await fetch(backend)
    assert backend.requests[0].headers["Accept-Encoding"] == "identity"
    async with guarded_session(LOCAL) as session, session.get(backend.url()) as response:
        assert gzip.decompress(await response.read()) == b"{}"


async def test_a_server_that_takes_too_long_is_given_up_on(backend):
    backend.delay = 5
    with pytest.raises(FetchFailed, match="no answer within"):
        await fetch(backend, timeout=0.05)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff", b"[" * 900])
async def test_what_is_not_json_is_an_error(backend, body):
    backend.answer = lambda: web.Response(body=body)
    with pytest.raises(FetchFailed, match="did not answer JSON"):
        await fetch(backend)


async def test_an_error_status_is_an_error_that_says_which(backend):
    backend.answer = lambda: web.json_response({"ok": True}, status=404)
    with pytest.raises(FetchFailed) as caught:
        await fetch(backend)
    assert caught.value.status == 404


async def test_nobody_there_is_an_error_without_a_status(backend):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        backend.port = unused.getsockname()[1]
        with pytest.raises(FetchFailed) as caught:
            await fetch(backend)
    assert caught.value.status is None


async def test_cookies_are_not_kept_and_the_environment_is_not_read(backend):
    backend.answer = lambda: web.json_response({}, headers={"Set-Cookie": "tracked=1"})
    async with guarded_session(LOCAL) as session:
        for _ in range(2):
            async with session.get(backend.url()):
                pass
        assert not session.trust_env
    assert "Cookie" not in backend.requests[1].headers
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example.com/jwks",
        "ftp://issuer.example.com/jwks",
        "file:///etc/passwd",
        "unix:///var/run/docker.sock",
        "https://user:pass@issuer.example.com/",
        "https://user@issuer.example.com/",
        "https://issuer.example.com/#here",
        "https:///jwks",
        "//issuer.example.com/jwks",
        "jwks",
        "",
        "https://[bad",
    ],
)
def test_a_url_that_is_not_plainly_https_is_refused(url):
    with pytest.raises(FetchFailed):
        require_safe_url(url)


@pytest.mark.parametrize("url", ["https://issuer.example.com/jwks", "http://localhost:9000/", "http://[::1]:9000/jwks"])
def test_https_anywhere_and_plain_http_to_this_machine_are_allowed(url):
    assert str(require_safe_url(url)) == url


def test_plain_http_to_elsewhere_must_be_allowed_by_name():
    assert require_safe_url("http://issuer:9000/jwks", plain=True).host == "issuer"
