"""Finding an OPA that may be trusted, and getting one where there is none."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.cli.opa import opa
from gateway.errors import EngineMissing
from gateway.pdp.opa_binary import PINNED, cached, find, inspect
from gateway.pdp.opa_install import Installer, asset
from tests.support.https import HttpsFiles, https_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RELEASE = f"/v{PINNED}/{asset(platform.system(), platform.machine())}"


def script(version: str, note: str = "") -> bytes:
    """A program that says it is OPA of a version."""
    return f"#!/bin/sh\n# {note}\necho 'Version: {version}'\necho 'Build Commit: x'\n".encode()


def program(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": str(tmp_path / "bin"), **more}


def test_the_one_that_the_operator_names_comes_first_then_the_path_then_the_cache(tmp_path: Path):
    theirs = program(tmp_path / "theirs", script("1.23.0"))
    variable = program(tmp_path / "variable", script("1.22.1"))
    on_path = program(tmp_path / "bin" / "opa", script("1.22.0"))
    own = program(cached(environment(tmp_path)), script(PINNED))
    everything = environment(tmp_path, OPA_BIN=str(variable))
    assert find(theirs, everything).path == theirs
    assert find(None, everything).path == variable
    assert find(None, environment(tmp_path)).path == on_path
    on_path.unlink()
    assert find(None, environment(tmp_path)).path == own


@pytest.mark.parametrize("version", ["1.21.2", "1.20.2", "0.70.0", "1.21.3-rc.1", "1.9.99"])
def test_an_opa_that_accepts_forged_deltas_is_refused_with_the_reason(tmp_path: Path, version: str):
    with pytest.raises(EngineMissing, match=rf"OPA {version}; below 1\.21\.3 it accepts forged delta bundles"):
        inspect(program(tmp_path / "opa", script(version)))


@pytest.mark.parametrize("version", ["1.21.3", "1.22.0", "1.100.0", "2.0.0", "1.22.0-dev"])
def test_a_version_that_may_be_trusted_is_taken(tmp_path: Path, version: str):
    assert inspect(program(tmp_path / "opa", script(version))).version == version


def test_one_that_is_named_and_bad_is_not_replaced_in_silence(tmp_path: Path):
    program(cached(environment(tmp_path)), script(PINNED))
    old = program(tmp_path / "old", script("1.20.2"))
    with pytest.raises(EngineMissing, match="forged"):
        find(old, environment(tmp_path))
    with pytest.raises(EngineMissing, match="is not an OPA that runs here"):
        find(None, environment(tmp_path, OPA_BIN=str(tmp_path / "none")))


def test_an_old_one_on_the_path_is_passed_over_for_the_cached_one(tmp_path: Path):
    program(tmp_path / "bin" / "opa", script("1.20.2"))
    with pytest.raises(EngineMissing, match="forged delta bundles; `portcullis opa install` gets one"):
        find(None, environment(tmp_path))
    own = program(cached(environment(tmp_path)), script(PINNED))
    assert find(None, environment(tmp_path)).path == own


NO_OPAS = {
    "says nothing": b"#!/bin/sh\n",
    "fails": b"#!/bin/sh\necho 'Version: 1.22.0'\nexit 1\n",
    "is no program": b"\x00\x01",
    "is another program": b"#!/bin/sh\necho 'opa 1.22.0'\n",
}


@pytest.mark.parametrize("content", NO_OPAS.values(), ids=NO_OPAS.keys())
def test_what_is_no_opa_is_refused(tmp_path: Path, content: bytes):
    with pytest.raises(EngineMissing):
        inspect(program(tmp_path / "opa", content))


def test_a_machine_without_opa_is_told_what_to_do(tmp_path: Path):
    with pytest.raises(EngineMissing, match="there is no OPA on this machine; `portcullis opa install` gets one"):
        find(None, environment(tmp_path))


def test_the_real_one_says_its_version():
    assert find().version == PINNED


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HttpsFiles]:
    """The releases' site, with a good release."""
    with https_files(tmp_path) as files:
        publish(files, script(PINNED))
        yield files


def publish(site: HttpsFiles, release: bytes, checksum: str | None = None) -> None:
    site.files[RELEASE] = release
    site.files[f"{RELEASE}.sha256"] = f"{checksum or hashlib.sha256(release).hexdigest()}  opa\n".encode()


def installer(tmp_path: Path, site: HttpsFiles) -> Installer:
    return Installer(environment(tmp_path), releases=site.url, trust=site.trust)


def nothing_is_left(tmp_path: Path) -> bool:
    return not list(cached(environment(tmp_path)).parent.iterdir())


def test_the_release_is_downloaded_checked_and_found_afterwards(tmp_path: Path, site: HttpsFiles):
    told: list[tuple[str, int, int]] = []
    environ = environment(tmp_path)
    installed = Installer(environ, lambda *now: told.append(now), releases=site.url, trust=site.trust).install()
    assert (installed.how, installed.binary) == ("release", find(None, environ))
    assert installed.binary.path.read_bytes() == script(PINNED)
    assert told[-1] == (f"downloading OPA {PINNED}", len(script(PINNED)), len(script(PINNED)))
    assert [path.name for path in installed.binary.path.parent.iterdir()] == ["opa"]


def test_the_release_may_lie_on_another_https_host(tmp_path: Path, site: HttpsFiles):
    site.files["/elsewhere"] = site.files[RELEASE]
    site.files[RELEASE] = f"{site.url}/elsewhere"
    assert installer(tmp_path, site).install().how == "release"


def test_a_redirect_away_from_https_is_not_followed(tmp_path: Path, site: HttpsFiles):
    site.files[RELEASE] = site.url.replace("https", "http") + "/elsewhere"
    with pytest.raises(EngineMissing, match="not https"):
        installer(tmp_path, site).install()
    assert nothing_is_left(tmp_path)


def test_releases_come_by_https_only(tmp_path: Path, site: HttpsFiles):
    with pytest.raises(EngineMissing, match="is not https"):
        Installer(environment(tmp_path), releases=site.url.replace("https", "http")).install()
    assert not site.asked


def test_a_site_with_a_certificate_of_nobodys_trust_is_not_believed(tmp_path: Path, site: HttpsFiles):
    with pytest.raises(EngineMissing, match="CERTIFICATE_VERIFY_FAILED"):
        Installer(environment(tmp_path), releases=site.url).install()
    assert nothing_is_left(tmp_path)


def test_a_release_that_does_not_match_its_checksum_is_not_kept_and_never_run(tmp_path: Path, site: HttpsFiles):
    ran = tmp_path / "ran"
    publish(site, f"#!/bin/sh\ntouch {ran}\n".encode(), checksum="0" * 64)
    with pytest.raises(EngineMissing, match="does not match its published SHA-256"):
        installer(tmp_path, site).install()
    assert nothing_is_left(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize("checksum", [b"", b"no", b"<html>", b"0" * 63, b"0" * 65])
def test_a_checksum_that_is_none_stops_the_installation(tmp_path: Path, site: HttpsFiles, checksum: bytes):
    site.files[f"{RELEASE}.sha256"] = checksum
    with pytest.raises(EngineMissing, match="is no SHA-256"):
        installer(tmp_path, site).install()
    assert RELEASE not in site.asked


@pytest.mark.parametrize("missing", [RELEASE, f"{RELEASE}.sha256"])
def test_a_release_that_is_not_there_is_named(tmp_path: Path, site: HttpsFiles, missing: str):
    del site.files[missing]
    with pytest.raises(EngineMissing, match=r"go: there is no go here\. release: https://\S+ cannot be had .*404"):
        installer(tmp_path, site).install()


def test_another_version_than_the_pinned_one_is_not_kept(tmp_path: Path, site: HttpsFiles):
    publish(site, script("1.23.0"))
    with pytest.raises(EngineMissing, match=f"what came is OPA 1.23.0, not {PINNED}"):
        installer(tmp_path, site).install()
    assert nothing_is_left(tmp_path)


GO = f"""#!{sys.executable}
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["GOBIN"])
(pathlib.Path(__file__).parent / "asked.json").write_text(json.dumps([sys.argv[1:], dict(os.environ)]))
(folder / "opa").write_text("#!/bin/sh\\necho 'Version: %s'\\n")
"""


def test_where_there_is_go_the_pinned_version_is_built_without_c(tmp_path: Path, site: HttpsFiles):
    program(tmp_path / "bin" / "go", (GO % PINNED).encode())
    environ = environment(tmp_path, GOFLAGS="-tags=evil", GOOS="plan9", GOCACHE="/c")
    installed = Installer(environ, releases=site.url, trust=site.trust).install()
    assert (installed.how, installed.binary) == ("go", find(None, environ))
    assert not site.asked
    arguments, seen = json.loads((tmp_path / "bin" / "asked.json").read_text())
    assert arguments[-1] == f"github.com/open-policy-agent/opa@v{PINNED}"
    assert arguments[arguments.index("-ldflags") + 1] == "-s -w"
    assert (seen["CGO_ENABLED"], seen["GOCACHE"]) == ("0", "/c")
    assert not {"GOFLAGS", "GOOS"} & seen.keys()


@pytest.mark.parametrize(
    "go",
    [b"#!/bin/sh\necho broken >&2\nexit 1\n", b"#!/bin/sh\n", (GO % "1.20.0").encode()],
    ids=["fails", "idle", "old"],
)
def test_where_go_does_not_do_the_release_is_taken(tmp_path: Path, site: HttpsFiles, go: bytes):
    program(tmp_path / "bin" / "go", go)
    assert installer(tmp_path, site).install().how == "release"


def test_what_is_there_is_left_unless_it_is_forced(tmp_path: Path, site: HttpsFiles):
    own = program(cached(environment(tmp_path)), script(PINNED, "mine"))
    assert installer(tmp_path, site).install().how == "present"
    assert b"mine" in own.read_bytes()
    assert installer(tmp_path, site).install(force=True).how == "release"
    assert b"mine" not in own.read_bytes()


def test_a_failed_installation_leaves_the_one_that_is_there(tmp_path: Path, site: HttpsFiles):
    own = program(cached(environment(tmp_path)), script(PINNED, "mine"))
    publish(site, script(PINNED), checksum="0" * 64)
    with pytest.raises(EngineMissing):
        installer(tmp_path, site).install(force=True)
    assert b"mine" in own.read_bytes()


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "opa_linux_amd64_static"),
        ("Linux", "aarch64", "opa_linux_arm64_static"),
        ("Darwin", "arm64", "opa_darwin_arm64_static"),
        ("Darwin", "x86_64", "opa_darwin_amd64"),
    ],
)
def test_each_machine_has_its_release(system: str, machine: str, name: str):
    assert asset(system, machine) == name


@pytest.mark.parametrize(("system", "machine"), [("Linux", "riscv64"), ("Windows", "AMD64")])
def test_a_machine_without_a_release_is_told_so(system: str, machine: str):
    with pytest.raises(EngineMissing, match=f"no release for {system} on {machine}"):
        asset(system, machine)


def test_the_command_prints_where_opa_is(tmp_path: Path):
    program(cached(environment(tmp_path)), script(PINNED))
    answer = CliRunner().invoke(opa, ["install", "--json"], env=environment(tmp_path))
    assert json.loads(answer.stdout) == {
        "path": str(cached(environment(tmp_path))),
        "version": PINNED,
        "how": "present",
    }
    answer = CliRunner().invoke(opa, ["install"], env=environment(tmp_path))
    assert (answer.exit_code, answer.stdout) == (0, f"OPA {PINNED} is at {cached(environment(tmp_path))}\n")


def test_a_log_is_told_once_what_takes_minutes_and_the_result_stands_alone(tmp_path: Path):
    program(tmp_path / "bin" / "go", (GO % PINNED).encode())
    answer = CliRunner().invoke(opa, ["install", "--force", "--json"], env=environment(tmp_path))
    assert (answer.exit_code, json.loads(answer.stdout)["how"]) == (0, "go")
    assert answer.stderr == f"building OPA {PINNED} with go; this can take minutes\n"


def test_the_command_fails_with_every_reason(tmp_path: Path):
    unreachable = environment(tmp_path, HTTPS_PROXY="http://127.0.0.1:1")
    answer = CliRunner().invoke(main, ["opa", "install"], env=unreachable)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "go: there is no go here. release: " in answer.stderr
    assert "Connection refused" in answer.stderr
    answer = CliRunner().invoke(main, ["opa", "install", "--json"], env=unreachable)
    assert (answer.exit_code, answer.stderr) == (1, "")
    assert json.loads(answer.stdout)["error"]["code"] == "engine_missing"


@pytest.mark.parametrize("content", [script("1.20.2"), b"", script("1.23.0")], ids=["old", "empty", "another"])
def test_one_in_the_cache_that_is_not_the_pinned_one_is_replaced(tmp_path: Path, site: HttpsFiles, content: bytes):
    program(cached(environment(tmp_path)), content)
    assert installer(tmp_path, site).install().how == "release"


def test_the_real_opa_passes_for_the_release_it_is(tmp_path: Path, site: HttpsFiles):
    real = find().path
    publish(site, real.read_bytes())
    installed = installer(tmp_path, site).install()
    assert installed.binary.version == PINNED
    assert installed.binary.path.stat().st_size == real.stat().st_size
    shutil.rmtree(installed.binary.path.parent)
