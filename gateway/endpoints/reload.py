"""`POST /api/config/reload`: the files are read again now, and every mistake in them is in the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway.endpoints import problems
from gateway.endpoints.gate import INFO
from gateway.errors import InvalidBody

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.catching_up import Reread
    from gateway.config.standing import KeptBack
    from gateway.endpoints.gate import Gate
    from gateway.errors import Mistake

EMPTY_BODIES = (b"", b"{}")


@dataclass(frozen=True, slots=True)
class Reload:
    """The route; each gateway reads its own files, and is asked by itself."""

    gate: Gate

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post("/api/config/reload", self.reload)]

    async def reload(self, request: web.Request) -> web.Response:
        """200 once what the files say is in force and decided by everywhere, 202 before that, 422 with every mistake.

        503 says that the files are in order and could not be put in force, which is tried again by itself.
        """
        door, caller = await self.gate.operator(request)
        if (await self.gate.body(request, door)).strip() not in EMPTY_BODIES:
            raise InvalidBody((("", "this route takes no fields"),))
        done = await self.gate.detached(door.rereading.reload(caller))
        return answer(done, request[INFO].id)


def answer(done: Reread, request_id: str) -> web.Response:
    """Return what came of it."""
    outcome = done.outcome
    if outcome.mistakes:
        return problems.render(
            422, "Unprocessable Content", "The files are refused; the configuration before stays in force", request_id,
            config=outcome.hash, errors=written(outcome.mistakes), kept_back=kept(outcome.kept_back),
        )  # fmt: skip
    if outcome.trouble is not None:
        detail = "The files are in order and cannot be put in force yet; this is tried again"
        headers = {"Retry-After": problems.RETRY_AFTER}
        return problems.render(503, "Service Unavailable", detail, request_id, headers, config=outcome.hash)
    document = {"reloaded": True, "config": outcome.hash, "kept_back": kept(outcome.kept_back)}
    headers = {"Portcullis-Revision": f"r{done.revision}", "Portcullis-Applied": str(done.applied)}
    status = 200 if done.applied.everywhere else 202
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json", headers=headers)


def kept(back: Iterable[KeptBack]) -> list[dict[str, Any]]:
    """Return the tenants whose catalogs are not in force as they lie there, each with its mistakes."""
    return [{"tenant": one.tenant, "suspended": one.suspended, "errors": written(one.mistakes)} for one in back]


def written(mistakes: Iterable[Mistake]) -> list[dict[str, Any]]:
    """Return mistakes as members of an answer; `line` counts from 1, null where it is not known."""
    return [{"file": one.file, "field": one.path, "line": one.line, "detail": one.message} for one in mistakes]
