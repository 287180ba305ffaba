"""The state directory: private, and its secrets made once, whoever comes first."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.errors import ConfigError
from gateway.state import StateDir, ensure_file, ensure_signing_key

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_with_its_parents_for_its_owner_alone(tmp_path: Path):
    state = StateDir.open(tmp_path / "a" / "b")
    assert mode(state.path) == 0o700
    assert state.ledger_url == f"sqlite:///{tmp_path}/a/b/portcullis.db"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PORTCULLIS_STATE_DIR": "/x/mine", "XDG_STATE_HOME": "/x/state"}, "/x/mine"),
        ({"XDG_STATE_HOME": "/x/state"}, "/x/state/portcullis"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/x/home"}, "/x/home/.local/state/portcullis"),
        ({"HOME": "/x/home"}, "/x/home/.local/state/portcullis"),
    ],
)
def test_where_it_lies_when_nobody_says(environ: dict[str, str], expected: str):
    program = "from gateway.state import default_path; print(default_path())"
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    ("bits", "who"), [(0o777, "everybody"), (0o702, "everybody"), (0o770, "its group"), (0o2775, "its group")]
)
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, bits: int, who: str):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(bits)
    with pytest.raises(ConfigError, match=f"{who} may write to the state directory; chmod 700"):
        StateDir.open(shared)
    assert StateDir.open(shared / "own").path == shared / "own"


def test_a_directory_that_others_may_read_is_taken_because_what_is_in_it_is_private_each(tmp_path: Path):
    tmp_path.chmod(0o755)
    state = StateDir.open(tmp_path)
    state.secret(state.control_token)
    assert mode(state.control_token) == 0o600


def test_a_file_in_the_place_of_the_directory_is_refused_by_name(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        StateDir.open(tmp_path / "file")


def test_a_secret_is_made_once_private_and_long(tmp_path: Path):
    state = StateDir.open(tmp_path)
    token = state.secret(state.control_token)
    assert (len(token), mode(state.control_token)) == (43, 0o600)
    assert state.secret(state.control_token) == token
    assert state.secret(state.replica_token("gw-1")) != token
    assert sorted(path.name for path in tmp_path.iterdir()) == ["replica-gw-1.token", "sync.token"]


def test_a_secret_put_there_by_hand_is_taken_without_its_line_end(tmp_path: Path):
    state = StateDir.open(tmp_path)
    state.control_token.write_text("by-hand\n")
    assert state.secret(state.control_token) == "by-hand"


def test_an_empty_secret_is_refused_because_an_empty_token_would_open_the_door(tmp_path: Path):
    state = StateDir.open(tmp_path)
    state.control_token.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        state.secret(state.control_token)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b"])
def test_a_replica_s_token_stays_in_the_directory(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="not a replica's name"):
        StateDir.open(tmp_path).replica_token(name)


def _made(path: str) -> tuple[str, bytes, bytes]:
    state = StateDir.open(path)
    private, public = state.signing_keys()
    return state.secret(state.control_token), private.read_bytes(), public.read_bytes()


def test_of_several_that_each_made_a_secret_one_wins_and_all_return_the_same(tmp_path: Path):
    everybody_has_made_one = threading.Barrier(8)

    def make(number: int) -> bytes:
        everybody_has_made_one.wait(timeout=10)
        return b"%d" % number

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: ensure_file(tmp_path / "token", lambda: make(number)), range(8)))
    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_processes_that_start_at_once_agree_on_token_and_key(tmp_path: Path):
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert len(set(processes.map(_made, [str(tmp_path)] * 16))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signing.pem", "signing.pub.pem", "sync.token"]


def test_the_signing_key_signs_es256_and_its_public_half_verifies(tmp_path: Path):
    private, public = StateDir.open(tmp_path).signing_keys()
    assert (mode(private), mode(public)) == (0o600, 0o644)
    signed = jws.serialize_compact({"alg": "ES256"}, b"bundle", ECKey.import_key(private.read_bytes()))
    assert jws.deserialize_compact(signed, ECKey.import_key(public.read_bytes())).payload == b"bundle"


def test_a_lost_or_foreign_public_key_is_written_anew_from_the_private_one(tmp_path: Path):
    private, public = StateDir.open(tmp_path).signing_keys()
    good = public.read_bytes()
    public.write_text("another key")
    ensure_signing_key(private, public)
    assert public.read_bytes() == good


@pytest.mark.parametrize("content", [b"no key\n", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_signing_key_that_is_none_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    state = StateDir.open(tmp_path)
    state.signing_key.write_bytes(content)
    with pytest.raises(ConfigError, match=r"signing\.pem: is not a private key"):
        state.signing_keys()
    assert state.signing_key.read_bytes() == content


HOLD = """
import sys
from gateway.state import StateDir
with StateDir.open(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_start_on_the_same_state_is_refused_and_told_by_which_process(tmp_path: Path):
    state = StateDir.open(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"process {holder.pid}\) uses this state directory"), state.lock():
            pass
        holder.kill()
        holder.wait()
        with state.lock():
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
