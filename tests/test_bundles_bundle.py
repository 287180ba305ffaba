"""A bundle is a deterministic archive with a signature that covers every file of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from bundles.bundle import Content, archive, build, canonical
from bundles.signing import SigningKey, ensure_key, verification_keys
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.state import StateDir

if TYPE_CHECKING:
    from pathlib import Path

KEY = SigningKey.generate()


def unpacked(body: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers()}  # type: ignore[union-attr]


def test_the_manifest_owns_one_root_and_carries_the_revision() -> None:
    content = Content("custom", {"custom/a/a.rego": b"package custom.a\n"}, {"packages": {"a": ["deny"]}})
    manifest = json.loads(unpacked(build("custom", content, 42, KEY))[".manifest"])
    assert manifest == {
        "revision": "r42",
        "roots": ["custom"],
        "rego_version": 1,
        "metadata": {"packages": {"a": ["deny"]}},
    }


def test_the_signature_covers_every_file_and_has_the_bundles_name_as_scope() -> None:
    files = unpacked(build("live", Content.document("portcullis_live", {"revision": 1}), 1, KEY))
    (token,) = json.loads(files.pop(".signatures.json"))["signatures"]
    verified = jws.deserialize_compact(token, ECKey.import_key(KEY.public_pem), algorithms=["ES256"])
    payload = json.loads(verified.payload)
    assert verified.headers()["kid"] == KEY.id
    assert payload["scope"] == "live"
    assert {each["name"]: each["hash"] for each in payload["files"]} == {
        name: hashlib.sha256(body).hexdigest() for name, body in files.items()
    }


def test_the_same_files_make_the_same_archive_in_any_order() -> None:
    files = {"b.rego": b"package b", "a.rego": b"package a"}
    assert archive(files) == archive(dict(reversed(files.items())))


def test_the_same_content_differs_in_its_signature_alone() -> None:
    content = Content.document("portcullis_live", {"revision": 1})
    one, two = unpacked(build("live", content, 1, KEY)), unpacked(build("live", content, 1, KEY))
    assert one.pop(".signatures.json") != two.pop(".signatures.json")
    assert one == two


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)


@given(value=JSON)
@example(value={"a\u2028": "\u2029<&>\x7f"})
def test_json_is_written_as_opa_writes_it_to_take_a_hash(value: object) -> None:
    expected = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(value).decode() == expected.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def test_content_has_another_digest_when_anything_in_it_changes() -> None:
    base = Content("custom", {"a": b"1"}, {"packages": {}})
    others = [
        Content("other", {"a": b"1"}, {"packages": {}}),
        Content("custom", {"b": b"1"}, {"packages": {}}),
        Content("custom", {"a": b"2"}, {"packages": {}}),
        Content("custom", {"a": b"1"}, {"packages": {"a": ["deny"]}}),
        Content("custom", {"a": b"1", "b": b""}, {"packages": {}}),
    ]
    assert len({content.digest() for content in [base, *others]}) == 6


def test_the_key_is_made_once_and_its_public_half_lies_beside_it(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path)
    key = ensure_key(Config(), state)
    assert ensure_key(Config(), state).id == key.id
    assert verification_keys(state.path) == {key.id: key.public_pem}
    assert state.signing_key.stat().st_mode & 0o777 == 0o600


def test_a_configured_key_file_is_the_one_that_opa_is_told_of(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "state")
    config = Config.model_validate({"sync": {"signing_key_file": str(tmp_path / "mine.pem")}})
    key = ensure_key(config, state)
    assert SigningKey.load(tmp_path / "mine.pem").id == key.id
    assert set(verification_keys(state.path)) == {key.id}


@pytest.mark.parametrize("content", [b"", b"nonsense", KEY.public_pem.encode()])
def test_a_file_that_is_no_private_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signing.pem").write_bytes(content)
    with pytest.raises(ConfigError):
        SigningKey.load(tmp_path / "signing.pem")


def test_a_file_that_is_no_public_key_is_refused_before_opa_is_told_of_it(tmp_path: Path) -> None:
    (tmp_path / "old.pub.pem").write_text("nonsense")
    with pytest.raises(ConfigError):
        verification_keys(tmp_path)
