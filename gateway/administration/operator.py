"""The operator of the machine, who has the ledger in hand: nobody is asked, and what is done is recorded."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from gateway import audit
from gateway.administration.acting import Change
from gateway.model import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from gateway.administration.acting import Deed
    from gateway.model import AuditEvent, Grant, Principal

    T = TypeVar("T")


class _Unasked:
    """A deed on the ledger itself."""

    def __init__(self, actor: Mapping[str, Any], type_: str, target: dict[str, Any]) -> None:
        self._actor = actor
        self._type = type_
        self.target = target

    async def may(self, action: str, tenant: str | None, grants: Grant | None = None) -> bool:  # noqa: ARG002 (nobody is asked)
        return True

    async def require(self, action: str, tenant: str | None, grants: Grant | None = None) -> None:
        pass

    async def mutated(self, mutation: Callable[[AuditEvent], Awaitable[T]]) -> T:
        tenant = self.target.get("tenant")
        return await mutation(
            audit.event(self._type, "success", tenant=tenant, actor=self._actor, target=dict(self.target))
        )


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever runs the command line; `actor` is how events name it, `home` the tenant that it acts for."""

    actor: Mapping[str, Any]
    home: str | None = None
    person: bool = False

    @property
    def author(self) -> str:
        """Who, as the ledger keeps it of what was made."""
        return str(self.actor["principal"])

    @property
    def principal(self) -> Principal:
        """Whom policy would be asked about: nobody whom it knows."""
        return replace(ANONYMOUS, subject=self.author)

    @contextmanager
    def begin(self, type_: str, action: str, **target: Any) -> Iterator[Deed]:
        """Begin a deed; its event is written with what it changes, and nothing is written where it changes nothing."""
        yield _Unasked(self.actor, type_, {"action": action, **target})

    async def enforced(self, revision: int) -> Change:
        """Say at which revision it was done; gateways follow the ledger by themselves."""
        return Change(revision, None)
