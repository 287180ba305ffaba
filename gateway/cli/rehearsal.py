"""A stage for policy: an OPA of its own on the bundles that sync would publish, asked what was asked before."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bundles.bundle import Content, build
from bundles.expand import Expander
from bundles.signing import SigningKey
from bundles.snapshot import live_document
from bundles.sources import custom_content, policy_content
from gateway.errors import DecisionUnavailable
from gateway.model import BUNDLES
from gateway.pdp.client import OpaClient
from gateway.pdp.engine import Engine
from gateway.pdp.high_water import HighWaterMark
from gateway.pdp.pdp import Pdp
from gateway.pdp.question import LISTS
from gateway.recalled import is_administrative

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from bundles.custom import CustomPolicy
    from bundles.snapshot import Facts
    from gateway.config import Loaded
    from gateway.model import Question, Verdict

DEADLINE_SECONDS = 5.0
START_SECONDS = 30.0
MANIFESTS = "/v1/data/system/bundles"
# Which templates a URI matched is not recorded, so what was read is not asked again.
CALLS = frozenset({"tools/call", "prompts/get"})
# A question is as old as its event, and the ledger is of now: that says nothing of how stale the data was.
AGELESS = 10**12


@dataclass(frozen=True, slots=True)
class Play:
    """What an OPA is to decide by."""

    loaded: Loaded
    custom: CustomPolicy
    facts: Facts

    @property
    def denies(self) -> bool:
        """Whether there is a rule that may refuse a call for its arguments."""
        return any("deny" in rules for rules in self.custom.packages.values())

    def contents(self) -> Mapping[str, Content]:
        """Return every bundle's content, as sync makes it, but live data is never too old."""
        data = Expander().expand(self.loaded.config, self.loaded.hash, self.facts.inventory).data
        data = {**data, "settings": {**data["settings"], "max_staleness_seconds": AGELESS}}
        return {
            "policy": policy_content(),
            "custom": custom_content(self.custom),
            "tenants": Content.document("portcullis_data", data),
            "live": Content.document("portcullis_live", live_document(self.facts, 0)),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller would get: of a `listing` the ids, else whether it is shown and admitted; or an error.

    `reasons` are the codes of a refusal. A caller is told them only of what it may see, and of no list.
    """

    allow: bool
    listing: bool = False
    visible: bool = True
    ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    error: str | None = None

    def answer(self, *, whole: bool) -> tuple[object, ...]:
        """Return what of it the caller can tell; of a question that is not `whole`, only what is shown."""
        shown = (self.visible, self.ids, self.error)
        if self.listing or not whole:
            return shown
        told = self.reasons if self.visible and not self.allow else ()
        return (*shown, self.allow, told)


class Stage:
    """An OPA that has its bundles. `play` is what it decides by."""

    def __init__(self, play: Play, pdp: Pdp) -> None:
        self.play = play
        self._pdp = pdp

    async def ask(self, question: Question) -> Outcome | None:
        """Return what would be decided now, None for an action that this version cannot ask about."""
        try:
            if question.action in LISTS:
                listed = await self._pdp.list(question)
                return Outcome(listed.allow, listing=True, ids=listed.ids, reasons=_codes(listed))
            if question.action in CALLS:
                called = await self._pdp.call(question)
                ids = (str(called.ref),) if called.ref and called.visible else ()
                return Outcome(called.allow, visible=called.visible, ids=ids, reasons=_codes(called))
            if is_administrative(question.action):
                permitted = await self._pdp.admin(question)
                return Outcome(permitted.allow, reasons=_codes(permitted))
        except DecisionUnavailable as error:
            return Outcome(allow=False, listing=question.action in LISTS, error=str(error))
        return None


@asynccontextmanager
async def on_stage(play: Play, binary: Path, folder: Path) -> AsyncIterator[Stage]:
    """Run an OPA on these bundles; raises DecisionUnavailable where it does not take them."""
    async with AsyncExitStack() as stack:
        config = await asyncio.to_thread(_write, play, folder)
        engine = await stack.enter_async_context(Engine(binary, config, folder / "run"))
        client = await stack.enter_async_context(OpaClient(engine.url, deadline=DEADLINE_SECONDS))
        await _activated(client, engine)
        settings = play.loaded.config
        pdp = Pdp(
            client,
            epoch=lambda: play.facts.meta.epoch,
            mark=HighWaterMark(folder / "no-mark.json", keep=False),
            mode=settings.tool_access.mode,
            custom_policy=lambda: bool(play.custom.packages),
            max_arguments_bytes=settings.opa.max_arguments_bytes,
        )
        yield Stage(play, pdp)


def _write(play: Play, folder: Path) -> Path:
    """Write signed bundles, and OPA's configuration that reads them, and return its path."""
    folder.mkdir(parents=True)
    key = SigningKey.generate()
    revision = play.facts.meta.revision
    for name, content in play.contents().items():
        (folder / f"{name}.tar.gz").write_bytes(build(name, content, revision, key))
    bundles = {name: _bundle(folder / f"{name}.tar.gz", key.id, name) for name in BUNDLES}
    config = folder / "opa.json"
    config.write_text(json.dumps({"bundles": bundles, "keys": {key.id: {"algorithm": "ES256", "key": key.public_pem}}}))
    return config


def _bundle(file: Path, key: str, scope: str) -> dict[str, Any]:
    return {"resource": f"file://{file}", "signing": {"keyid": key, "scope": scope}}


async def _activated(client: OpaClient, engine: Engine) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    found: object = None
    while asyncio.get_running_loop().time() < deadline:
        try:
            found = orjson.loads(await client.query(MANIFESTS, b"{}", lane="replay")).get("result", {})
            if isinstance(found, dict) and found.keys() >= set(BUNDLES):
                return
        except DecisionUnavailable as error:
            found = error
        await asyncio.sleep(0.02)
    raise DecisionUnavailable(f"OPA does not take the bundles: {engine.trouble or found}")


def _codes(verdict: Verdict) -> tuple[str, ...]:
    return tuple(sorted({reason.code for reason in verdict.reasons}))
