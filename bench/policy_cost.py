"""What one decision costs in OPA, and whether it grows with the number of tenants.

    python -m bench.policy_cost                        # 10, 1,000 and 10,000 tenants, 200 tools
    python -m bench.policy_cost --tenants 10 --runs 1 --only call

Runs `opa bench` over the shipped policy and generated data: four servers of fifty tools, a deny list of its own for
each tenant, an allow list for every second one, withdrawals in all four overlays, and the worked example as custom
policy where asked for. Prints microseconds, bytes and allocations per decision. HTTP is not in it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway.pdp.opa_binary import find
from policies import ROOT

SERVERS = [f"s{number}" for number in range(4)]
TOOLS = [f"{server}/tool_{tool}" for server in SERVERS for tool in range(50)]
EXAMPLE = ROOT.parent / "examples" / "policies"
BENCHED = re.compile(r"^Benchmark\S*\s+\d+\s+(\d+(?:\.\d+)?) ns/op.*?(\d+) B/op\s+(\d+) allocs/op", re.MULTILINE)


def snapshot(tenants: int, packages: dict[str, list[str]]) -> dict[str, Any]:
    """Return the data of a front door with this many tenants; the same number makes the same data."""
    manifest = {"manifest": {"revision": "r1"}}
    custom = {"manifest": {"revision": "r1", "metadata": {"packages": packages}}}
    bundles = {"policy": manifest, "custom": custom, "tenants": manifest, "live": manifest}
    return {"system": {"bundles": bundles}, "portcullis_data": configured(tenants), "portcullis_live": live()}


def configured(tenants: int) -> dict[str, Any]:
    """Return what config says."""
    draw = random.Random(1)
    denied = {f"{number:016x}": dict.fromkeys(draw.sample(TOOLS, 3), True) for number in range(tenants)}
    settings = {"on_stale": "serve", "max_staleness_seconds": 300, "default_role": "developer", "anonymous": False}
    of_server = {server: {id_: True for id_ in TOOLS if id_.startswith(f"{server}/")} for server in SERVERS}
    return {
        "mode": "front_door",
        "config": "bench",
        "settings": settings,
        "flat": {f"{id_.partition('/')[2]}_{id_[1]}": {id_: True} for id_ in TOOLS},
        "contested": {},
        "offers": {"all": dict.fromkeys(TOOLS, True)},
        "sets": {**denied, "allow": dict.fromkeys(TOOLS[:150], True)},
        "servers": {server: {} for server in SERVERS},
        "server_ids": of_server,
        "everyone": {},
        "tenants": {
            f"tenant:{number}": {"active": True, "offer": "all", "deny": f"{number:016x}"}
            | ({"allow": "allow"} if number % 2 else {})
            for number in range(tenants)
        },
        "withdrawn": {
            "global": {"s0/tool_1": {"origin": "config"}},
            "tenant": {"tenant:3": {"s0/tool_2": {"origin": "config"}}},
        },
        "rbac": {
            "roles": {"developer": {"tool:list": True, "tool:invoke": True, "mcp_servers:read": True}},
            "bindings": {f"user:{number}": {"global": {"developer": {}}} for number in range(0, tenants, 2)},
        },
    }


def live() -> dict[str, Any]:
    """Return what has happened at runtime: a dozen withdrawals."""
    withdrawal = {"by": "user:root", "at": 0}
    return {
        "epoch": "0" * 32,
        "revision": 42,
        "generated_at": int(time.time()),
        "withdrawn": {
            "global": {f"s1/tool_{number}": withdrawal for number in range(10)},
            "tenant": {"tenant:5": {"s1/tool_12": withdrawal}},
        },
        "revoked": {},
        "bindings": {},
        "scopes": {},
    }


def question(action: str, name: str | None, tenant: str) -> dict[str, Any]:
    """Return the input of one question, by a person who has the default role."""
    credential = {"id": "jwt:1", "role": None, "scope": None, "expires_at": 1}
    return {
        "v": 1,
        "action": action,
        "mode": "front_door",
        "view": "flat",
        "principal": {
            "subject": "user:5",
            "kind": "jwt",
            "issuer": "https://issuer.example",
            "tenant": tenant,
            "groups": ["data"],
            "scopes": [],
            "credential": credential,
        },
        "target": {"name": name, "server": None, "arguments": {"amount": 10}},
        "request": {"id": "0190", "ip": "10.0.0.1", "time": 1},
        "untrusted": {"client": {}},
    }


QUESTIONS = {
    "call": ("call", question("tools/call", "tool_49_2", "tenant:5")),
    "call withdrawn": ("call", question("tools/call", "tool_12_1", "tenant:5")),
    "call unknown tool": ("call", question("tools/call", "nothing", "tenant:5")),
    "call unknown tenant": ("call", question("tools/call", "tool_49_2", "tenant:none")),
    "list": ("list", question("tools/list", None, "tenant:5")),
}


def bench(folder: Path, custom: bool, entrypoint: str, asked: dict[str, Any], runs: int) -> tuple[float, int, int]:
    """Return microseconds, bytes and allocations per decision, the best of its runs."""
    (folder / "input.json").write_text(json.dumps(asked))
    sources = ["-d", ROOT / "portcullis", "-d", folder / "data.json", *(["-d", f"custom:{EXAMPLE}"] if custom else [])]
    command = [find().path, "bench", *sources, "-i", folder / "input.json", "--ignore", "*_test.rego"]
    command += ["--count", runs, "--format", "gobench", "--metrics=false"]
    run = subprocess.run(
        [str(part) for part in [*command, f"data.portcullis.{entrypoint}.decision"]],
        capture_output=True,
        text=True,
        check=True,
    )
    found = BENCHED.findall(run.stdout)
    if not found:
        raise SystemExit(f"opa bench printed no figures:\n{run.stdout}{run.stderr}")
    best = min(found, key=lambda each: float(each[0]))
    return float(best[0]) / 1000, int(best[1]), int(best[2])


def main() -> None:
    """Print one line for each question and number of tenants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, nargs="+", default=[10, 1_000, 10_000])
    parser.add_argument("--runs", type=int, default=3, help="how often each is run, for a second; the best counts")
    parser.add_argument("--only", choices=sorted(QUESTIONS), nargs="+", default=list(QUESTIONS))
    parser.add_argument("--custom", action="store_true", help="with the worked example as custom policy")
    options = parser.parse_args()
    packages = {"spend_limit": ["deny"]} if options.custom else {}
    print(f"{'question':22}{'tenants':>9}{'us':>10}{'B':>10}{'allocs':>9}")
    for tenants in options.tenants:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "data.json").write_text(json.dumps(snapshot(tenants, packages)))
            for label in options.only:
                entrypoint, asked = QUESTIONS[label]
                took, size, allocations = bench(folder, options.custom, entrypoint, asked, options.runs)
                print(f"{label:22}{tenants:>9,}{took:>10.1f}{size:>10,}{allocations:>9,}")


if __name__ == "__main__":
    main()
