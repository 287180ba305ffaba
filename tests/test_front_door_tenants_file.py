"""tenants.yaml and catalogs under a running gateway and its sync: who is suspended, when, and who is told why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conftest import TOOLS
from tests.support.files import written
from tests.support.gateway import PATIENT, Portcullis, front_door, payments
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer

SEEN = sorted(TOOLS)
ROWS = "tenants:\n  - {id: 'tenant:a', catalog_file: a.yaml}\n  - {id: 'tenant:b', catalog_file: b.yaml}\n"
BROKEN, GOOD = "servers: {nowhere: {}}\n", "servers: {}\n"


async def test_a_broken_catalog_suspends_its_tenant_at_a_start_and_an_edited_file_counts_at_once(
    tmp_path: Path, backend: FakeBackend, issuer: Issuer
) -> None:
    def put(text: str, name: str) -> None:
        written(tmp_path, text, f"tenants/{name}.new").rename(tmp_path / "tenants" / name)

    for name, text in {"tenants.yaml": ROWS, "a.yaml": BROKEN, "b.yaml": GOOD}.items():
        written(tmp_path, text, f"tenants/{name}")
    everybody = payments(backend.url, tool_access={"member": {"*": {}}}, tool_projection={})
    config = front_door("", issuer.url, opa=PATIENT) | {"mcp_servers": {"payments": everybody}}
    tokens = {tenant: issuer.mint(tenant_id=f"tenant:{tenant}") for tenant in "abc"}
    options = ("--tenants", str(tmp_path / "tenants" / "tenants.yaml"))
    async with Portcullis(tmp_path, config, options) as gateway:

        async def settles(**expected: list[str]) -> None:
            async def settled() -> bool:
                return {name: sorted(await gateway.tools(tokens[name])) for name in expected} == expected

            await until(settled, 15, what=str(expected))

        said = f"{tmp_path}/tenants/a.yaml:1: servers.nowhere: there is no server nowhere in mcp_servers"
        await settles(a=[], b=SEEN, c=[])
        assert f"tenant tenant:a is suspended: {said}" in gateway.log
        status, out, _ = await gateway.cli("doctor", *options)
        assert (status, "a start would suspend the tenant" in out) == (1, True)

        put(GOOD, "a.yaml")
        await settles(a=SEEN, b=SEEN)
        put(BROKEN, "a.yaml")
        await until(lambda: f"tenant tenant:a keeps its last good catalog: {said}" in gateway.log)
        await settles(a=SEEN, b=SEEN)

        put(ROWS.replace("catalog_file: b.yaml", "active: false"), "tenants.yaml")
        await settles(a=SEEN, b=[])
        put("tenants: [{id: a}, {id: a}]\n", "tenants.yaml")
        await until(lambda: "the configuration is refused, the old one stays" in gateway.log)
        await settles(a=SEEN, b=[])
