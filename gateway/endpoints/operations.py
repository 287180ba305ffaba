"""The administration over HTTP: each operation at its place in the contract, and what its answer is worth."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.administration import operations
from gateway.administration.operations import OPERATIONS, Ask, Told
from gateway.endpoints import answers

if TYPE_CHECKING:
    from gateway.endpoints.entry import Reception

# Where the body may name the tenant that the caller acts for.
ACTING = frozenset({"mintToken"})
STILL = "Portcullis-Still-Assigned"


@dataclass(frozen=True, slots=True)
class Operations:
    """The routes of the administration, as the contract has them."""

    reception: Reception

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        found = []
        for name in OPERATIONS:
            method, path = self.reception.contract.place_of(name)
            found.append(web.route(method, path, functools.partial(self.answer, name)))
        return found

    async def answer(self, name: str, request: web.Request) -> web.Response:
        """Answer a request for an operation; work that changes something goes on when the client disconnects."""
        entry = await self.reception.enter(request, functools.partial(operations.mistakes, name))
        if name in ACTING:
            entry = self.reception.acting_for(entry, entry.body.get("tenant_id"))
        ask = Ask(entry.caller.request, entry.body, entry.query, request.match_info.get("id", ""))
        work = OPERATIONS[name](entry.administration, entry.actor, ask)
        return rendered(await (work if request.method == "GET" else self.reception.gate.detached(work)))


def rendered(told: Told) -> web.Response:
    """Return an answer as HTTP has it."""
    if told.change is None:
        return answers.shown(told.document)
    headers = {**(answers.SECRET if told.secret else {}), **({STILL: "config"} if told.still_configured else {})}
    status = HTTPStatus.CREATED if told.secret else HTTPStatus.OK
    return answers.changed(told.document, told.change, headers, status)
