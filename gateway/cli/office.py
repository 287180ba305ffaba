"""The administration on the command line: on the ledger of this machine, or by the API of a running gateway."""

from __future__ import annotations

import functools
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from gateway.administration import Administration, operations
from gateway.administration.operations import OPERATIONS, Ask
from gateway.administration.operator import Operator
from gateway.administration.terms import Terms
from gateway.cli.common import installation_options, json_option, ledger_of, operator, run, together
from gateway.cli.desk import Desk, caution
from gateway.cli.local import onlooker, opa_url
from gateway.cli.remote import Remote, key_in
from gateway.config import Config
from gateway.endpoints.contract import Contract
from gateway.errors import InvalidBody
from gateway.model import RequestInfo
from gateway.pdp.client import OpaClient
from gateway.state import StateDir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from gateway.ledger import Ledger
    from gateway.pdp.pdp import Pdp

T = TypeVar("T")
DEADLINE_SECONDS = 5.0
# What asks policy, and needs the OPA of this machine for it.
ASKING = frozenset({"check"})
STILL = ("the configuration gives the role all the same; see auth.role_assignments there",)


class Session(Protocol):
    """Somewhere where operations are done."""

    @property
    def page(self) -> int:
        """How many entries of a list it gives at once."""

    async def do(
        self, operation: str, body: Mapping[str, Any], query: Mapping[str, Any], at: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Do an operation and return what it is answered with, and `revision` where it changed something."""


@dataclass(frozen=True, slots=True)
class Local:
    """The ledger of this machine, in the hands of its operator."""

    office: Office
    ledger: Ledger
    config: Config
    page: int = 500

    async def do(
        self, operation: str, body: Mapping[str, Any], query: Mapping[str, Any], at: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Do an operation; nobody is asked but by those that are questions."""
        async with AsyncExitStack() as stack:
            pdp = await self._pdp(stack) if operation in ASKING else None
            office = Administration.under(Terms.of(self.config, tenants_known=False), self.ledger, pdp)
            if body:
                Contract.read().hold(operation, body, functools.partial(operations.mistakes, operation, office))
            actor = Operator(operator(), home=body.get("tenant_id"))
            ask = Ask(RequestInfo("command line", "", int(time.time())), body, query, (at or {}).get("id", ""))
            told = await OPERATIONS[operation](office, actor, ask)
        if told.change is None:
            return dict(told.document)
        await caution(self.ledger, *(STILL if told.still_configured else ()))
        return {**told.document, "revision": f"r{told.change.revision}"}

    async def _pdp(self, stack: AsyncExitStack) -> Pdp:
        state = StateDir.open(self.office.state_dir)
        client = OpaClient(opa_url(self.config, state), deadline=DEADLINE_SECONDS)
        epoch = (await self.ledger.meta()).epoch
        return onlooker(await stack.enter_async_context(client), self.config, state, epoch=epoch)


@dataclass(frozen=True, slots=True)
class Office(Desk):
    """A desk that may also speak to a running gateway."""

    server: str | None = None
    key: str | None = None

    def do(
        self,
        operation: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        at: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Do one operation; what was not said is left out of body and query. `at` fills in the path."""
        return self.within(lambda session: session.do(operation, _said(body), _said(query), at))

    def all(self, operation: str, name: str, query: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return every entry of a list, page by page."""
        return self.within(lambda session: entries(session, operation, name, _said(query)))

    def within(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Do some work where this office is."""
        return run(self._within(work))

    async def _within(self, work: Callable[[Session], Awaitable[T]]) -> T:
        try:
            async with self._session() as session:
                return await work(session)
        except InvalidBody as error:
            raise click.UsageError(str(error)) from error

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        if self.server is not None:
            async with Remote(self.server, self.key or "") as remote:
                yield remote
            return
        async with ledger_of(self.config_path, self.state_dir) as (ledger, loaded):
            yield Local(self, ledger, loaded.config if loaded else Config())


async def entries(session: Session, operation: str, name: str, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every entry of a list."""
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {"limit": session.page}
    while True:
        page = await session.do(operation, {}, {**query, **more})
        found += page[name]
        if page["next"] is None:
            return found
        more["cursor"] = page["next"]


def _said(named: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (named or {}).items() if value is not None and value != ()}


server_options = together(
    click.option(
        "--server", "gateway", metavar="URL", help="A running gateway, instead of the ledger of this machine."
    ),
    click.option(
        "--key-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="The file with the API key or token for --server.",
    ),
)


def in_the_office(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a desk, --server and --key-file as its first argument, an `Office`."""

    @functools.wraps(command)
    def with_office(
        config_path: Any, state_dir: Path | None, as_json: bool, gateway: str | None, key_file: Path | None, **rest: Any
    ) -> None:
        key = key_in(gateway, key_file)
        command(Office(config_path, state_dir, as_json, gateway, key), **rest)

    return together(installation_options, server_options, json_option)(with_office)
