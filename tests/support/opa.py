"""Real OPA processes for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from gateway.pdp.opa_binary import find
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


def opa_binary() -> Path:
    """Return the OPA that the product itself would run."""
    return find().path


@dataclass(frozen=True)
class RunningOpa:
    """An OPA process that listens on a unix socket."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession

    async def data(self, path: str, document: Any = None) -> Any:
        """Return what `data.<path>` is, dots as slashes; None where it is undefined or nobody answers."""
        try:
            url = f"http://opa/v1/data/{path}?strict-builtin-errors"
            async with self.session.post(url, json={"input": document or {}}) as response:
                return (await response.json()).get("result")
        except (aiohttp.ClientConnectionError, FileNotFoundError):
            return None

    async def revision(self, bundle: str) -> str | None:
        """Return the revision of a bundle that is active."""
        return await self.data(f"system/bundles/{bundle}/manifest/revision")

    async def activated(self, *bundles: str) -> None:
        """Wait until the bundles are active."""
        for bundle in bundles:
            await until(lambda bundle=bundle: self.revision(bundle), what=f"bundle {bundle} is active")


@contextlib.asynccontextmanager
async def running_opa(config: Mapping[str, Any], folder: Path) -> AsyncIterator[RunningOpa]:
    """Run OPA on a configuration until the block ends; `folder` takes its socket and its files."""
    file, socket = _write(config, folder), folder / "opa.sock"
    arguments = f"run --server --addr unix://{socket} --unix-socket-perm 600 --log-level error --skip-version-check"
    process = await asyncio.create_subprocess_exec(
        opa_binary(), *arguments.split(), "--config-file", file, cwd=folder,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
            yield RunningOpa(process, session)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _write(config: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "opa.json"
    file.write_text(json.dumps(config))
    return file
