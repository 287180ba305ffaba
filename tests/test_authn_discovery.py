"""Where an issuer's keys are looked for, and where never (threats A04 and A21)."""

from __future__ import annotations

from ipaddress import ip_network

import aiohttp
import pytest

from gateway.addresses import Addresses
from gateway.authn.discovery import KeySource, metadata_urls
from gateway.errors import KeysUnavailable
from gateway.net import FetchFailed, guarded_session
from tests.support.issuer import Issuer, trusting
from tests.support.resolver import Answers
from tests.support.tokens import admit


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (
            "https://issuer.test",
            (
                "https://issuer.test/.well-known/oauth-authorization-server",
                "https://issuer.test/.well-known/openid-configuration",
            ),
        ),
        (
            "https://issuer.test/",
            (
                "https://issuer.test/.well-known/oauth-authorization-server",
                "https://issuer.test/.well-known/openid-configuration",
            ),
        ),
        (
            "https://issuer.test:8443/realms/main",
            (
                "https://issuer.test:8443/.well-known/oauth-authorization-server/realms/main",
                "https://issuer.test:8443/.well-known/openid-configuration/realms/main",
                "https://issuer.test:8443/realms/main/.well-known/openid-configuration",
            ),
        ),
    ],
)
def test_metadata_is_looked_for_in_the_order_of_the_protocol(issuer, urls):
    assert metadata_urls(issuer) == urls


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_metadata_is_found_at_each_of_its_places(place):
    async with Issuer(path="/realms/main").serve() as issuer, trusting(issuer) as authn:
        where = metadata_urls(issuer.url)[place]
        issuer.wells = {where.removeprefix(issuer.url.removesuffix(issuer.path))}
        assert await admit(authn, issuer.mint())
        assert issuer.requests.total() == place + 2


@pytest.mark.parametrize("told", ["https://else.example", "{}/", "{}x", "", None, 5, ["{}"]])
async def test_metadata_of_not_exactly_this_issuer_are_refused(told):
    async with Issuer().serve() as issuer, trusting(issuer) as authn:
        issuer.metadata = {"issuer": told.format(issuer.url) if isinstance(told, str) else told}
        with pytest.raises(KeysUnavailable):
            await admit(authn, issuer.mint())
        assert issuer.jwks_fetches == 0


@pytest.mark.parametrize(
    "jwks_uri",
    [
        None,
        5,
        "",
        "/jwks",
        "file:///etc/passwd",
        "http://issuer.example.com/jwks",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "https://10.0.0.1/jwks",
        "https://user:pass@issuer.example.com/jwks",
    ],
)
async def test_keys_are_not_fetched_from_where_they_cannot_be(jwks_uri):
    async with Issuer().serve() as issuer, trusting(issuer) as authn:
        issuer.metadata = {"jwks_uri": jwks_uri}
        with pytest.raises(KeysUnavailable):
            await admit(authn, issuer.mint())


async def test_metadata_of_a_public_issuer_cannot_point_into_this_machine():
    async with Issuer().serve() as issuer:
        port = int(issuer.url.rpartition(":")[2])
        source = KeySource("https://issuer.example.com", jwks_uri=None)
        async with source.session() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://127.0.0.1:{port}/jwks")
        assert issuer.requests.total() == 0


async def test_a_configured_jwks_uri_needs_no_metadata():
    async with Issuer().serve() as issuer, trusting(issuer, jwks_uri=f"{issuer.url}/jwks") as authn:
        assert await admit(authn, issuer.mint())
        assert dict(issuer.requests) == {"/jwks": 1}


async def test_a_redirecting_issuer_is_unavailable_and_its_target_not_asked():
    async with Issuer().serve() as issuer, trusting(issuer) as authn:
        issuer.status = 302
        with pytest.raises(KeysUnavailable):
            await admit(authn, issuer.mint())
        assert issuer.requests["/elsewhere"] == 0


async def test_an_insecure_issuer_off_this_machine_must_be_allowed_by_name():
    with pytest.raises(FetchFailed, match="not an https URL"):
        await KeySource("http://issuer.example.com").load()


async def test_an_insecure_issuer_that_is_allowed_still_keeps_to_its_networks():
    async with Issuer().serve() as issuer:
        url = issuer.url.replace("127.0.0.1", "issuer.test")
        issuer.metadata = {"issuer": url, "jwks_uri": f"{url}/jwks"}
        source = KeySource(url, plain=True)
        with pytest.raises(FetchFailed, match="not an address to connect to"):
            await source.load(lambda: guarded_session(Addresses.of_issuer(), resolver=Answers(["127.0.0.1"])))
        assert issuer.requests.total() == 0
        listed = Addresses.of_issuer((ip_network("127.0.0.1/32"),))
        document = await source.load(lambda: guarded_session(listed, resolver=Answers(["127.0.0.1"])))
        assert [key["kid"] for key in document["keys"]] == [issuer.keys[0].kid]
