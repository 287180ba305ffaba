"""The state directory: all that is private to one machine. Secrets are made on first use, once, whoever is first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPLICA = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class StateDir:
    """One state directory, 0700, and where things lie in it."""

    path: Path

    @classmethod
    def open(cls, path: Path | str | None = None) -> StateDir:
        """Open `path` or, where none is named, `default_path()`; made if absent.

        Raises ConfigError where it cannot be had or others may write to it.
        """
        chosen = Path(path) if path else default_path()
        try:
            chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = chosen.stat().st_mode
        except OSError as error:
            raise _refused(chosen, f"the state directory cannot be made: {error.strerror}") from error
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            # Whoever can put a file there can put their own key in the place of the one that signs bundles.
            who = "everybody" if mode & stat.S_IWOTH else "its group"
            raise _refused(chosen, f"{who} may write to the state directory; chmod 700 it, or use another one")
        return cls(chosen.absolute())

    @property
    def ledger_url(self) -> str:
        """The ledger's URL while `storage.url` names no other."""
        return f"sqlite:///{self.path / 'portcullis.db'}"

    @property
    def signing_key(self) -> Path:
        """The ES256 key that signs bundles, in PEM; made by `signing_keys`."""
        return self.path / "signing.pem"

    @property
    def verification_key(self) -> Path:
        """The public half of `signing_key`, in PEM."""
        return self.path / "signing.pub.pem"

    @property
    def control_token(self) -> Path:
        """The token by which the gateway speaks to sync."""
        return self.path / "sync.token"

    @property
    def opa_dir(self) -> Path:
        """Where OPA persists its bundles; it makes this itself."""
        return self.path / "opa"

    @property
    def high_water(self) -> Path:
        """The newest revision that any decision has had."""
        return self.path / "high-water.json"

    @property
    def provenance(self) -> Path:
        """The newest revision of each bundle that OPA has had."""
        return self.path / "bundles.json"

    @property
    def configuration(self) -> Path:
        """The documents of the configuration that sync has last had in force."""
        return self.path / "configuration.json"

    def replica_token(self, name: str) -> Path:
        """Return where the bundle token of a replica lies."""
        if not _REPLICA.fullmatch(name):
            raise ValueError(f"{name!r} is not a replica's name")
        return self.path / f"replica-{name}.token"

    def secret(self, path: Path) -> str:
        """Return the secret in `path`; 32 random bytes, url-safe, 0600, made on first use."""
        return ensure_file(path, lambda: secrets.token_urlsafe(32).encode()).decode().strip()

    def signing_keys(self, private: Path | None = None) -> tuple[Path, Path]:
        """Return the paths of signing and verification key, made on first use; `private` is instead of `signing_key`.

        Raises ConfigError for a file that holds no ES256 key.
        """
        return ensure_signing_key(private or self.signing_key, self.verification_key)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one `portcullis up`; raises ConfigError naming the process that has it."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                message = (
                    f"another portcullis (process {holder}) uses this state directory; stop it, or pass --state-dir"
                )
                raise _refused(self.path, message) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def default_path() -> Path:
    """Return PORTCULLIS_STATE_DIR, else $XDG_STATE_HOME/portcullis, else ~/.local/state/portcullis."""
    named = os.environ.get("PORTCULLIS_STATE_DIR")
    if named:
        return Path(named)
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state") / "portcullis"


def ensure_file(path: Path, content: Callable[[], bytes]) -> bytes:
    """Return what is in `path`; where there is none, put `content()` there, 0600, whole or not at all.

    Of several processes that come at once, one makes it and all return the same.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
        with _temporary(path, content()) as temporary, contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename, it never replaces what another process was first to make
        return _read(path)
    except OSError as error:
        raise _refused(path, f"cannot be read or made: {error.strerror}") from error


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put `content` at `path` so that readers and a crash find the old file or the new one; raises OSError."""
    with _temporary(path, content) as temporary:
        temporary.chmod(mode)
        temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the rename itself is on disk only now
    finally:
        os.close(folder)


def ensure_signing_key(private: Path, public: Path) -> tuple[Path, Path]:
    """Make an ES256 key pair on first use, in PEM; the public file always follows the private one."""
    pem = ensure_file(private, _new_key)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise _refused(private, "is not a private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused(private, "is not an ES256 key (P-256); make one with openssl ecparam -name prime256v1 -genkey")
    wanted = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        if not public.exists() or public.read_bytes() != wanted:
            write_whole(public, wanted, mode=0o644)
    except OSError as error:
        raise _refused(public, f"cannot be written: {error.strerror}") from error
    return private, public


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.strip():
        raise _refused(path, "is empty; remove it, and a new one is made")
    return content


@contextlib.contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside `path` with `content` safely on disk, 0600; removed afterwards unless it was moved away."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _refused(path: Path, message: str) -> ConfigError:
    return ConfigError((Mistake(str(path), "", None, message),))
