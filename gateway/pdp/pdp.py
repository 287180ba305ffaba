"""One question, one trusted decision: the only way by which the gateway learns what is admitted."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import DecisionUnavailable
from gateway.model import ANONYMOUS, Question, RequestInfo, Verdict
from gateway.pdp.decision import (
    parse_admin,
    parse_call,
    parse_contested,
    parse_explanation,
    parse_list,
    parse_number,
    parse_text,
)
from gateway.pdp.question import CALL, LIST, encode, lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ids import Mode
    from gateway.model import AdminDecision, CallDecision, ListDecision
    from gateway.pdp.client import OpaClient
    from gateway.pdp.high_water import HighWaterMark

MAX_ARGUMENTS_BYTES = 65_536
GENERATED_AT = "/v1/data/portcullis_live/generated_at"
REVISION = "/v1/data/portcullis_live/revision"
CONFIGURATION = "/v1/data/portcullis_data/config"
CONTESTED = "/v1/data/portcullis_data/contested"
_POLICY_PATH = re.compile(r"[A-Za-z0-9_]+(?:/[A-Za-z0-9_]+)*")
# Reasons that speak of OPA and its data, not of who asks; a replica that gives one for any question is not ready.
_NOT_READY = frozenset({"policy_data_missing", "mode_mismatch", "data_stale", "policy_error"})
_V = TypeVar("_V", bound=Verdict)


class Pdp:
    """Asks OPA and trusts only a well-formed decision of the ledger's current epoch and of no older revision.

    Every method raises DecisionUnavailable where there is no such decision; its text is for the log.
    """

    def __init__(
        self,
        client: OpaClient,
        *,
        epoch: Callable[[], str],
        mark: HighWaterMark,
        mode: Mode,
        custom_policy: Callable[[], bool],
        max_arguments_bytes: int = MAX_ARGUMENTS_BYTES,
        policy_path: str = "portcullis",
        distrust: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`epoch` returns the ledger's current one; `custom_policy` says whether there is any.

        `distrust` returns why the bundles that OPA has are not to be decided by (`Provenance`).
        """
        if not _POLICY_PATH.fullmatch(policy_path):
            raise ValueError(f"not a policy path: {policy_path!r}")
        self._client = client
        self._epoch = epoch
        self._distrust = distrust
        self._mark = mark
        self._mode = mode
        self._custom_policy = custom_policy
        self._max_arguments_bytes = max_arguments_bytes
        # A misspelt parameter is ignored by OPA in silence, and a failing builtin then makes a custom `deny` vanish.
        root = f"/v1/data/{policy_path}"
        self._call, self._list, self._admin, self._explain = (
            f"{root}/{name}/decision?strict-builtin-errors" for name in ("call", "list", "admin", "explain")
        )

    def call(self, question: Question) -> Awaitable[CallDecision]:
        """Decide a call of one tool."""
        return self._ask(self._call, question, parse_call)

    def list(self, question: Question) -> Awaitable[ListDecision]:
        """Decide which tools are visible."""
        return self._ask(self._list, question, parse_list)

    def admin(self, question: Question) -> Awaitable[AdminDecision]:
        """Decide an admin action; its permission is the question's `action`."""
        return self._ask(self._admin, question, parse_admin)

    async def explain(self, question: Question) -> dict[str, Any]:
        """Return what each layer says of the question, for people; it admits nothing."""
        return parse_explanation(await self._query(self._explain, question))

    async def generated_at(self) -> int:
        """Return when sync made the live data that OPA decides on, in seconds since the epoch."""
        answer = await self._client.query(GENERATED_AT, b"{}", lane="gauge")
        return parse_number(answer)

    async def revision(self) -> int:
        """Return which revision of the ledger OPA decides on."""
        return parse_number(await self._client.query(REVISION, b"{}", lane="gauge"))

    async def configuration(self) -> str:
        """Return the hash of the configuration that the data was made from."""
        return parse_text(await self._client.query(CONFIGURATION, b"{}", lane="gauge"))

    async def contested(self) -> int:
        """Return how many tools are offered to nobody under a flat name, because others have the same."""
        return parse_contested(await self._client.query(CONTESTED, b"{}", lane="gauge"))

    async def ready(self) -> str | None:
        """Ask one harmless question of each kind; return None if OPA decides, else why not."""
        listing = Question(LIST, ANONYMOUS, RequestInfo("ready", "", int(time.time())))
        calling = replace(listing, action=CALL, name="ready", arguments={})
        administering = replace(listing, action="mcp_servers:read")
        try:
            verdicts = (await self.list(listing), await self.call(calling), await self.admin(administering))
        except DecisionUnavailable as error:
            return str(error)
        codes = {reason.code for verdict in verdicts for reason in verdict.reasons}
        return ", ".join(sorted(codes & _NOT_READY)) or None

    async def _ask(self, path: str, question: Question, parse: Callable[[bytes], _V]) -> _V:
        since = self._mark.value
        verdict = parse(await self._query(path, question))
        current = self._epoch()
        if not verdict.epoch or not verdict.revision or verdict.epoch != current:
            raise DecisionUnavailable(_stranger(verdict, current))
        if why := self._distrust():
            raise DecisionUnavailable(why)
        self._mark.admit(verdict.epoch, verdict.revision, since=since)
        return verdict

    def _query(self, path: str, question: Question) -> Awaitable[bytes]:
        body = encode(question, self._mode, custom=self._custom_policy(), max_arguments_bytes=self._max_arguments_bytes)
        return self._client.query(path, body, lane=lane(question))


def _stranger(verdict: Verdict, current: str) -> str:
    if verdict.epoch and verdict.revision and current:
        return f"the decision is of epoch {verdict.epoch[:32]}, the ledger is at {current}"
    codes = ", ".join(reason.code for reason in verdict.reasons)
    return f"OPA has not all of its data yet: {codes or 'no epoch or no revision'}"
