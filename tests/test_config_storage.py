"""`storage.url`: an address of libpq's with its password by reference, which nothing shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from gateway.config import Secret
from tests.support.files import loaded, mistakes

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "p@ss/w%rd?#:&="


def storage(url: str) -> str:
    return f"storage: {{url: {json.dumps(url)}}}"


def test_an_address_without_a_password_is_taken_as_it_is(tmp_path: Path):
    url = "postgresql://jo@a:5432,b:5433/ledger?sslmode=verify-full&sslrootcert=/etc/ca.pem&target_session_attrs=any"
    assert loaded(tmp_path, storage(url)).config.storage.address == url
    assert loaded(tmp_path, storage("postgres:///?host=/run/postgresql")).config.storage.address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://jo:${env:PW}@db/x",
        "postgresql://jo@db/x?password=${env:PW}",
        "postgresql://${env:JO}:${env:PW}@db/x",
    ],
)
def test_a_password_may_hold_any_character_and_arrives_as_it_is(tmp_path: Path, url: str):
    address = loaded(tmp_path, storage(url), PW=CANARY, JO="jo").config.storage.address
    assert address
    assert conninfo_to_dict(address) == {"user": "jo", "host": "db", "dbname": "x", "password": CANARY}


def test_a_password_comes_from_a_file_and_a_whole_address_from_the_environment(tmp_path: Path):
    (tmp_path / "secret").write_text(f"{CANARY}\n")
    address = loaded(tmp_path, storage("postgresql://jo:${file:secret}@db/x")).config.storage.address
    assert address
    assert conninfo_to_dict(address)["password"] == CANARY
    whole = "postgresql://jo:p%40ss@db/x"
    assert loaded(tmp_path, storage("${env:DATABASE_URL}"), DATABASE_URL=whole).config.storage.address == whole


def test_the_password_is_shown_nowhere_and_changes_no_hash(tmp_path: Path):
    url = storage("postgresql://jo:${env:PW}@db/x")
    one, other = (loaded(tmp_path, url, PW=password) for password in ("canary-1", "canary-2"))
    assert isinstance(one.config.storage.url, Secret)
    for text in (repr(one), str(one.config.storage), one.config.model_dump_json(), f"{one.config.storage.url}"):
        assert "canary" not in text
    assert one.hash == other.hash == loaded(tmp_path, "audit: {}").hash


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://jo:canary@db/x",
        "postgres://jo:canary@a,b/x",
        "postgresql://jo@db/x?sslmode=require&password=canary",
        "postgresql://jo@db/x?sslpassword=canary",
        "postgresql://jo:canary${env:PW}@db/x",
        "mysql://jo:canary@db/x",
        "postgresql:jo:canary@db",
    ],
)
def test_a_password_in_the_open_and_another_database_are_refused_without_being_quoted(tmp_path: Path, url: str):
    (found,) = mistakes(tmp_path, storage(url), PW="canary")
    assert found[0] == "storage.url"
    assert "canary" not in str(found)


def test_a_whole_address_that_is_none_is_refused_without_being_quoted(tmp_path: Path):
    (found,) = mistakes(tmp_path, storage("${env:DATABASE_URL}"), DATABASE_URL="mysql://jo:canary@db/x")
    assert "canary" not in str(found)
