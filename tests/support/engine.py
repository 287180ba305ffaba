"""The real OPA as the product supervises it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.errors import DecisionUnavailable
from gateway.pdp import opa_binary
from gateway.pdp.client import OpaClient
from gateway.pdp.engine import Engine
from tests.support.fake_opa import short_directory
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def supervised_opa(*files: Path, config: str = "{}") -> AsyncIterator[Engine]:
    """Run the real OPA on Rego and data files under supervision; it answers when this yields."""
    with short_directory() as directory:
        path = directory / "config.yaml"
        path.write_text(config)
        engine = Engine(opa_binary.find().path, path, directory / "run", files=[file.resolve() for file in files])
        async with engine:
            await answering(engine)
            yield engine


async def answering(engine: Engine) -> None:
    """Wait until the engine's OPA answers a query."""
    async with OpaClient(engine.url, deadline=1) as client:
        await until(lambda: answers(client), what="OPA answers")


async def answers(client: OpaClient) -> bool:
    """Whether OPA answers any query at all."""
    try:
        await client.query("/v1/data/absent", b'{"input":{}}', lane="")
    except DecisionUnavailable:
        return False
    return True
