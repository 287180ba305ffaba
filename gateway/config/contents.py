"""What files hold, by digest: one that has not changed since it was read is not read again.

Ten thousand catalogs are looked at in a twentieth of a second so, and a reload parses only what has another digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# A file may be written twice within one tick of its file system's clock; until this long after, it is read again.
SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How a file may be read: `limit` bytes and one at most, and from within `roots`, if any, wherever links lead."""

    limit: int = 1024 * 1024
    roots: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held: `raw` where it had to be read, `error` where it could not be."""

    digest: str
    raw: bytes | None = None
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    state: tuple[int, ...]
    digest: str
    settled: bool


class Contents:
    """The digests of files as they were last read. Not to be used by two threads at once."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._terms: dict[str, Terms] = {}
        self._folders: dict[Path, Path] = {}

    def begin(self) -> None:
        """Forget where folders lead; to be called before files are looked at anew."""
        self._folders.clear()

    def look(self, path: Path, terms: Terms, *, anew: bool = False) -> Content:
        """Return what a regular file holds; `raw` is None where it is as it was. `anew` reads it in any case."""
        name = str(path)
        known = self._known.get(name) if self._terms.get(name) == terms else None
        self._terms[name] = terms
        try:
            state = _state(path)
            if not anew and known and known.settled and known.state == state:
                return Content(known.digest)
            begun = self._clock()
            raw = read_file(path, terms, self._folder)
        except OSError as error:
            self._known.pop(name, None)
            return Content("", error=error)
        digest = hashlib.sha256(raw).hexdigest()
        self._known[name] = _Known(state, digest, settled=max(state[-2:]) + SETTLED_NS < begun)
        return Content(digest, raw)

    def expect(self, path: Path, terms: Terms) -> None:
        """Note on which terms a file may be read that somebody else has looked at."""
        self._terms[str(path)] = terms

    def digests(self, paths: Iterable[Path]) -> dict[str, str]:
        """Return what each file holds now, on the terms on which it was read before; "" where it cannot be read."""
        self.begin()
        return {str(path): self.look(path, self._terms.get(str(path), _USUAL)).digest for path in paths}

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Let go of what is known of other files."""
        for name in self._terms.keys() - set(names):
            del self._terms[name]
            self._known.pop(name, None)

    def _folder(self, folder: Path) -> Path:
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = real_path(folder)
        return found


_USUAL = Terms()


class Copied(Contents):
    """Files as they once were: what was copied of them, and nothing else for them; secrets alone are read anew."""

    def __init__(self, documents: Mapping[Path, bytes]) -> None:
        super().__init__()
        self._documents = documents

    def look(self, path: Path, terms: Terms, *, anew: bool = False) -> Content:
        """Return what was copied of a file."""
        if path in self._documents:
            raw = self._documents[path]
            return Content(hashlib.sha256(raw).hexdigest(), raw)
        if str(path) in self._terms:
            return super().look(path, terms, anew=anew)
        return Content("", error=FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)))


def fingerprint(digests: Mapping[str, str]) -> str:
    """Return one digest of several files' contents, by which a change is noticed."""
    sha256 = hashlib.sha256()
    for name in sorted(digests):
        sha256.update(f"{name}\0{digests[name]}\0".encode())
    return sha256.hexdigest()


def read_file(path: Path, terms: Terms, lead: Callable[[Path], Path] | None = None) -> bytes:
    """Return what a file holds; raises OSError where it may not be read. `lead` says where a folder leads."""
    if not terms.roots:
        return _regular(path, terms.limit)
    folder = lead or real_path
    # Most catalogs lie side by side in one folder, and are no links.
    real = real_path(path) if path.is_symlink() else folder(path.parent) / path.name
    if not any(real.is_relative_to(folder(root)) for root in terms.roots):
        raise OSError(errno.EPERM, f"it leads outside {terms.roots[0]}")
    return _regular(real, terms.limit, os.O_NOFOLLOW)


def _regular(path: Path, limit: int, flags: int = 0) -> bytes:
    """Return the content of a file that is no pipe or device, on which a reader might wait."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read(limit + 1)


def expanded(path: Path) -> Path:
    """Return a path with `~` replaced; raises ValueError for the home of nobody."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} begins with the home of nobody here") from error


def inside(path: Path, folder: Path) -> Path | None:
    """Return where a path leads, every link on the way followed; None where that is outside the folder."""
    real = real_path(path)
    return real if real.is_relative_to(real_path(folder)) else None


def real_path(path: Path) -> Path:
    """Return where a path leads; of a loop of links, into the loop, for Path.resolve would raise."""
    return Path(os.path.realpath(path))


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
