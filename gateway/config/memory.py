"""What was made of files, by their digests: a load that follows another makes anew only what changed."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gateway.config.contents import Content, Contents, Terms, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
    from pathlib import Path

    from gateway.config.references import Context, SecretFile

    # Makes a value of bytes; the context knows which secrets it was made from.
    Make = Callable[[bytes], tuple["T", Context]]

T = TypeVar("T")
_NOTHING: Mapping[Any, Any] = {}


@dataclass(frozen=True, slots=True)
class _Made:
    """A value, what it was made of, and by digest what else was read for it: secrets' files and variables."""

    path: Path
    key: Hashable
    value: Any
    files: Mapping[Path, SecretFile]
    variables: Mapping[str, str]
    raw: bytes | None


class Memory:
    """What the loads that follow each other share: what was made of files, and digests of secrets.

    With `keep` it has the files themselves too, for whoever copies them.
    """

    def __init__(self, contents: Contents | None = None, *, keep: bool = False) -> None:
        self.contents = contents or Contents()
        self.keep = keep
        self.made: dict[str, _Made] = {}
        self._lock = threading.Lock()

    @contextmanager
    def look(self, environ: Mapping[str, str]) -> Iterator[Look]:
        """Look at files, one thread at a time."""
        with self._lock:
            self.contents.begin()
            yield Look(self, environ)

    def fingerprint(self, paths: Iterable[Path]) -> str:
        """Return one digest of what these files hold now."""
        with self._lock:
            return fingerprint(self.contents.digests(paths))


@dataclass(slots=True)
class Look:
    """One load's view of the files; `seen` has the digest of each as it was read, "" where it could not be."""

    memory: Memory
    environ: Mapping[str, str]
    seen: dict[Path, str] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    @property
    def digest(self) -> str:
        """One digest of everything that was read."""
        return fingerprint({str(path): digest for path, digest in self.seen.items()})

    def made(self, name: str, path: Path, terms: Terms, key: Hashable, make: Make[T]) -> T:
        """Return what `make` makes of a file, or has made of the same bytes for the same key and from the same secrets.

        `name` says who asks, because two may ask for one file. Raises OSError where it cannot be read.
        """
        content = self._at(path, terms)
        known = self._recall(name, path, (content.digest, key))
        if known is not None:
            return cast("T", known.value)
        raw = content.raw if content.raw is not None else self._at(path, terms, anew=True).raw
        value, context = make(raw or b"")
        variables = {variable: _digest_of(variable, self.environ) for variable in context.variables}
        self.memory.made[name] = _Made(
            path,
            (self.seen[path], key),
            value,
            context.files or _NOTHING,
            variables or _NOTHING,
            raw if self.memory.keep else None,
        )
        self._expect(context)
        self._used.add(name)
        return value

    def documents(self) -> dict[Path, bytes]:
        """Return the files that something was made of in this look, where files are kept."""
        made = (self.memory.made[name] for name in self._used)
        return {one.path: one.raw for one in made if one.raw is not None}

    def _at(self, path: Path, terms: Terms, *, anew: bool = False) -> Content:
        content = self.memory.contents.look(path, terms, anew=anew)
        self.seen[path] = content.digest
        if content.error:
            raise content.error
        return content

    def _recall(self, name: str, path: Path, key: Hashable) -> _Made | None:
        made = self.memory.made.get(name)
        if made is None or (made.path, made.key) != (path, key) or any(map(self._is_other, made.files.items())):
            return None
        if any(_digest_of(variable, self.environ) != digest for variable, digest in made.variables.items()):
            return None
        self._used.add(name)
        return made

    def _is_other(self, file: tuple[Path, SecretFile]) -> bool:
        path, secret = file
        self.seen[path] = self.memory.contents.look(path, secret.terms).digest
        return self.seen[path] != secret.digest

    def _expect(self, context: Context) -> None:
        """Watch the secrets that were read, from now on."""
        for path, secret in context.files.items():
            self.memory.contents.expect(path, secret.terms)
            self.seen[path] = secret.digest

    def complete(self) -> None:
        """Let go of what was made of files that are no longer named."""
        for name in self.memory.made.keys() - self._used:
            del self.memory.made[name]
        self.memory.contents.forget_all_but(map(str, self.seen))


def _digest_of(variable: str, environ: Mapping[str, str]) -> str:
    return hashlib.sha256(environ.get(variable, "").encode(errors="surrogateescape")).hexdigest()
