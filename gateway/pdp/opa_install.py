"""Getting the pinned OPA: built by go where there is one, else the official release against its published SHA-256."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from gateway.errors import EngineMissing
from gateway.pdp.opa_binary import PINNED, OpaBinary, cached, inspect

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from http.client import HTTPMessage, HTTPResponse

RELEASES = "https://github.com/open-policy-agent/opa/releases/download"
MODULE = "github.com/open-policy-agent/opa"
MAX_BYTES = 256 * 1024 * 1024
_BLOCK = 256 * 1024
_TIMEOUT_SECONDS = 60
_BUILD_SECONDS = 900
_PUBLISHED = re.compile(rb"([0-9a-fA-F]{64})(?:\s.*)?", re.DOTALL)
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation ended with; `how` is `present`, `go` or `release`."""

    binary: OpaBinary
    how: str


@dataclass(frozen=True, slots=True)
class Installer:
    """Where the pinned OPA comes from and where it goes.

    `progress` is told what is being done, and how many bytes of how many are there (zeros where unknown).
    """

    environment: Mapping[str, str]
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    releases: str = RELEASES
    trust: ssl.SSLContext | None = None

    def install(self, *, force: bool = False) -> Installed:
        """Put the pinned OPA into the cache and return it; raises EngineMissing with every way that failed."""
        target = cached(self.environment)
        if not force and _good(target):
            return Installed(OpaBinary(target, PINNED), "present")
        target.parent.mkdir(parents=True, exist_ok=True)
        failures = []
        for how, get in (("go", self._build), ("release", self._download)):
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
                try:
                    made = _checked(get(Path(folder)))
                except EngineMissing as error:
                    failures.append(f"{how}: {error}")
                    continue
                made.replace(target)
                return Installed(OpaBinary(target, PINNED), how)
        raise EngineMissing("OPA could not be installed. " + ". ".join(failures))

    def _build(self, folder: Path) -> Path:
        go = shutil.which("go", path=self.environment.get("PATH"))
        if go is None:
            raise EngineMissing("there is no go here")
        self.progress(f"building OPA {PINNED} with go", 0, 0)
        command = [go, "install", "-trimpath", "-ldflags", "-s -w", f"{MODULE}@v{PINNED}"]
        # GOFLAGS of the user could add build tags; GOOS and GOARCH would put the result elsewhere.
        theirs = {k: v for k, v in self.environment.items() if k not in ("GOFLAGS", "GOOS", "GOARCH")}
        try:
            subprocess.run(  # noqa: S603
                command,
                env={**theirs, "CGO_ENABLED": "0", "GOBIN": str(folder)},
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_BUILD_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise EngineMissing(f"go install failed: {error.stderr.strip()[-300:]}") from error
        except (OSError, subprocess.SubprocessError) as error:
            raise EngineMissing(f"go install failed: {error}") from error
        return folder / "opa"

    def _download(self, folder: Path) -> Path:
        url = f"{self.releases}/v{PINNED}/{asset(platform.system(), platform.machine())}"
        made = folder / "opa"
        try:
            with self._open(f"{url}.sha256") as answer:
                published = _PUBLISHED.fullmatch(answer.read(1_024))
            if published is None:
                raise EngineMissing(f"{url}.sha256 is no SHA-256")
            with self._open(url) as answer, made.open("wb") as file:
                digest = self._copy(answer, file)
        except (OSError, URLError) as error:
            raise EngineMissing(f"{url} cannot be had ({error})") from error
        if digest != published[1].decode().lower():
            raise EngineMissing(f"{url} does not match its published SHA-256")
        return made

    def _open(self, url: str) -> HTTPResponse:
        if not url.startswith("https://"):
            raise EngineMissing(f"{url} is not https")
        answer: HTTPResponse = _opener(self.trust).open(Request(url), timeout=_TIMEOUT_SECONDS)  # noqa: S310
        return answer

    def _copy(self, answer: HTTPResponse, file: IO[bytes]) -> str:
        """Copy the release and return the SHA-256 of what was written."""
        total = int(answer.headers.get("Content-Length") or 0)
        digest, done = hashlib.sha256(), 0
        while block := answer.read(_BLOCK):
            done += len(block)
            if done > MAX_BYTES:
                raise EngineMissing("the release is too large to be OPA")
            digest.update(block)
            file.write(block)
            self.progress(f"downloading OPA {PINNED}", done, total)
        if done < total:
            raise EngineMissing("the download was cut short")
        return digest.hexdigest()


def asset(system: str, machine: str) -> str:
    """Return the name of the release's file for a machine, as `platform` names it; raises EngineMissing for others."""
    architecture = _MACHINES.get(machine.lower())
    if architecture is None or system not in ("Linux", "Darwin"):
        raise EngineMissing(f"OPA has no release for {system} on {machine}")
    # Only these are free of a C library; the plain amd64 ones for macOS need none of their own.
    static = "" if (system, architecture) == ("Darwin", "amd64") else "_static"
    return f"opa_{system.lower()}_{architecture}{static}"


def _good(path: Path) -> bool:
    try:
        return path.exists() and inspect(path).version == PINNED
    except EngineMissing:
        return False


def _checked(made: Path) -> Path:
    if not made.is_file():
        raise EngineMissing("nothing came of it")
    made.chmod(0o755)
    version = inspect(made).version
    if version != PINNED:
        raise EngineMissing(f"what came is OPA {version}, not {PINNED}")
    return made


def _opener(trust: ssl.SSLContext | None) -> OpenerDirector:
    return build_opener(HTTPSHandler(context=trust), _HttpsOnly())


class _HttpsOnly(HTTPRedirectHandler):
    """Follows redirects (releases live on another host) that stay on https."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Refuse to leave https."""
        if not newurl.startswith("https://"):
            raise URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
