"""Tokens that the issuer did not sign, or that no two readers read alike (threats A03, A04, A43 and A44)."""

from __future__ import annotations

import base64
import hmac
import json

import pytest

from gateway.errors import InvalidCredential
from tests.support.issuer import ABSENT, Issuer, make_key, segment, sign, trusting
from tests.support.tokens import admit, refused

FOREIGN = make_key("ES256")
DEEP = "[" * 2000 + "]" * 2000


@pytest.fixture(scope="module")
async def issuer():
    async with Issuer().serve() as running:
        yield running


@pytest.fixture(scope="module")
async def authn(issuer):
    async with trusting(issuer) as running:
        yield running


def unsigned(issuer, name):
    return f"{segment(issuer.header(alg=name))}.{segment(issuer.claims())}."


def symmetric(issuer, secret):
    """A token signed by HMAC with what everybody knows of the issuer's key."""
    signed = f"{segment(issuer.header(alg='HS256'))}.{segment(issuer.claims())}"
    return f"{signed}.{segment(hmac.digest(secret, signed.encode(), 'sha256'))}"


def public_pem_as_secret(issuer):
    return symmetric(issuer, issuer.keys[0].as_pem(private=False))


def public_jwk_as_secret(issuer):
    return symmetric(issuer, json.dumps(issuer.keys[0].as_dict(private=False)).encode())


def der_signature(issuer):
    return issuer.mint().rpartition(".")[0] + "." + segment(b"\x30\x06\x02\x01\x01\x02\x01\x01")


def standard_alphabet(issuer):
    while True:
        head, _, signature = issuer.mint().rpartition(".")
        if "-" in signature or "_" in signature:
            return head + "." + signature.replace("-", "+").replace("_", "/")


def changed_payload(issuer):
    header, _, signature = issuer.mint().split(".")
    return f"{header}.{segment(issuer.claims(tenant_id='tenant:b'))}.{signature}"


def detached(issuer):
    header, _, signature = issuer.mint().split(".")
    return f"{header}..{signature}"


WRONG_SIGNATURES = {
    "none": lambda issuer: unsigned(issuer, "none"),
    "None": lambda issuer: unsigned(issuer, "None"),
    "nOnE": lambda issuer: unsigned(issuer, "nOnE"),
    "none with a signature": lambda issuer: unsigned(issuer, "none") + "AAAA",
    "no signature": lambda issuer: issuer.mint().rpartition(".")[0] + ".",
    "HS256 by the public key in PEM": public_pem_as_secret,
    "HS256 by the public key in JSON": public_jwk_as_secret,
    "an algorithm off the list": lambda issuer: issuer.mint({"alg": "ES512"}),
    "an algorithm of another family": lambda issuer: issuer.mint({"alg": "RS256"}),
    "an algorithm of another curve": lambda issuer: issuer.mint({"alg": "ES384"}),
    "an unknown algorithm": lambda issuer: issuer.mint({"alg": "ES257"}),
    "a lower-case algorithm": lambda issuer: issuer.mint({"alg": "es256"}),
    "an empty algorithm": lambda issuer: issuer.mint({"alg": ""}),
    "no algorithm": lambda issuer: issuer.mint({"alg": ABSENT}),
    "a list of algorithms": lambda issuer: issuer.mint({"alg": ["ES256"]}),
    "an object as algorithm": lambda issuer: issuer.mint({"alg": {"ES256": 1}}),
    "null as algorithm": lambda issuer: issuer.mint({"alg": None}),
    "a foreign key": lambda issuer: issuer.mint(key=FOREIGN),
    "a foreign key in its jwk": lambda issuer: issuer.mint({"jwk": FOREIGN.as_dict(private=False)}, FOREIGN),
    "a foreign key in its jwk and kid": lambda issuer: issuer.mint(
        {"jwk": FOREIGN.as_dict(private=False), "kid": FOREIGN.kid}, FOREIGN
    ),
    "padding": lambda issuer: issuer.mint() + "=",
    "the standard alphabet": standard_alphabet,
    "a signature in DER": der_signature,
    "a signature of zeros": lambda issuer: issuer.mint().rpartition(".")[0] + "." + segment(b"\x00" * 64),
    "a changed payload": changed_payload,
    "detached": detached,
    "b64 false": lambda issuer: issuer.mint({"b64": False, "crit": ["b64"]}),
    "crit": lambda issuer: issuer.mint({"crit": ["exp"], "exp": 1}),
    "an empty crit": lambda issuer: issuer.mint({"crit": []}),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_SIGNATURES)
async def test_a_token_that_the_issuers_key_did_not_sign_is_refused(issuer, authn, case):
    await refused(authn, WRONG_SIGNATURES[case](issuer))


@pytest.mark.parametrize(
    "kid", ["nobody", "", "../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1/jwks", None, 5, [], {}, ["k"], True]
)
async def test_a_key_id_is_a_name_in_the_issuers_set_and_nothing_else(issuer, authn, kid):
    await refused(authn, issuer.mint({"kid": kid}))


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_no_connection_is_made_to_where_a_token_points(issuer, authn, name):
    before = issuer.requests["/elsewhere"]
    forged = issuer.mint({name: f"{issuer.url}/elsewhere", "kid": FOREIGN.kid}, FOREIGN)
    await refused(authn, forged)
    assert issuer.requests["/elsewhere"] == before == 0


async def test_a_token_without_key_id_is_good_only_while_the_issuer_has_one_key():
    async with Issuer().serve() as issuer:
        async with trusting(issuer) as authn:
            assert await admit(authn, issuer.mint({"kid": ABSENT}))
        issuer.keys.append(make_key())
        async with trusting(issuer) as authn:
            await refused(authn, issuer.mint({"kid": ABSENT}))


def duplicate(text, name, value):
    return text[:-1] + f', "{name}": {json.dumps(value)}' + "}"


MALFORMED = {
    "two segments": lambda i: "a.b",
    "four segments": lambda i: i.mint() + ".x",
    "five segments, encrypted": lambda i: f"{segment({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d",
    "empty segments": lambda i: "..",
    "no JSON": lambda i: f"{segment('x')}.{segment('y')}.{segment('z')}",
    "a header that is a list": lambda i: sign([], i.claims(), i.keys[0], "ES256"),
    "a payload that is a list": lambda i: sign(i.header(), [i.claims()], i.keys[0], "ES256"),
    "a payload that is a string": lambda i: sign(i.header(), '"x"', i.keys[0], "ES256"),
    "a payload that is null": lambda i: sign(i.header(), "null", i.keys[0], "ES256"),
    "an empty payload": lambda i: sign(i.header(), "", i.keys[0], "ES256"),
    "UTF-16": lambda i: sign(i.header(), json.dumps(i.claims()).encode("utf-16"), i.keys[0], "ES256"),
    "a byte order mark": lambda i: sign(i.header(), "\ufeff" + json.dumps(i.claims()), i.keys[0], "ES256"),
    "bytes that are not UTF-8": lambda i: sign(i.header(), b'{"sub": "\xff"}', i.keys[0], "ES256"),
    "a member of the payload twice": lambda i: sign(
        i.header(), duplicate(json.dumps(i.claims()), "tenant_id", "tenant:b"), i.keys[0], "ES256"
    ),
    "a nested member twice": lambda i: sign(
        i.header(), json.dumps(i.claims())[:-1] + ', "x": {"a": 1, "a": 2}}', i.keys[0], "ES256"
    ),
    "a member of the header twice": lambda i: sign(
        duplicate(json.dumps(i.header()), "alg", "ES256"), i.claims(), i.keys[0], "ES256"
    ),
    "nested two thousand deep in the payload": lambda i: sign(
        i.header(), json.dumps(i.claims())[:-1] + f', "x": {DEEP}}}', i.keys[0], "ES256"
    ),
    "nested two thousand deep in the header": lambda i: sign(
        json.dumps(i.header())[:-1] + f', "x": {DEEP}}}', i.claims(), i.keys[0], "ES256"
    ),
    "nested deep and signed by nobody": lambda i: f"{segment('[' * 2900)}.{segment('[' * 2900)}.AAAA",
    "more than 8 kB": lambda i: i.mint(padding="x" * 6000),
    "a number of five thousand digits": lambda i: sign(
        i.header(), json.dumps(i.claims())[:-1] + ', "x": ' + "9" * 5000 + "}", i.keys[0], "ES256"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_token_is_refused_and_is_no_error_of_the_gateway(issuer, authn, case):
    token = MALFORMED[case](issuer)
    with pytest.raises(InvalidCredential):
        await admit(authn, token)


async def test_a_token_of_nearly_8_kb_is_read(issuer, authn):
    assert 8000 < len(token := issuer.mint(padding="x" * 5750)) <= 8192
    assert await admit(authn, token)


async def test_no_spelling_of_a_signature_but_one_is_accepted(issuer, authn):
    token = issuer.mint()
    last = token[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = alphabet[alphabet.index(last) ^ 1]
    assert base64.urlsafe_b64decode(token.split(".")[2] + "==") == base64.urlsafe_b64decode(
        token[:-1].split(".")[2] + twin + "=="
    )
    await refused(authn, token[:-1] + twin)
