"""What one decision costs in OPA, and whether it grows with the number of tenants.

    python -m bench.policy_cost                        # 10, 1,000 and 10,000 tenants, 200 tools
    python -m bench.policy_cost --tenants 10 --runs 1 --only call

Runs `opa bench` over the shipped policy, over data that sync's own code makes of a configuration, and over questions as
the gateway writes them: four servers of fifty tools, prompts and resources besides, a deny list of its own for each
tenant and an allow list for every second one, withdrawals in all four overlays, and the worked example as custom policy
where asked for. Prints microseconds, bytes and allocations per decision. HTTP is not in it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.tenants import data
from gateway.ids import Mode
from gateway.model import CredentialKind, CredentialRef, Principal, Question, RequestInfo, View
from gateway.pdp.opa_binary import find
from gateway.pdp.question import encode
from policies import ROOT

EXAMPLE = ROOT.parent / "examples" / "policies"
BENCHED = re.compile(r"^Benchmark\S*\s+\d+\s+(\d+(?:\.\d+)?) ns/op.*?(\d+) B/op\s+(\d+) allocs/op", re.MULTILINE)
NOW = int(time.time())

# Tenants with an even number have no allow list, and the default role; `user:5` was given the same role.
JO = Principal("user:jo", CredentialKind.JWT, "tenant:4", "https://idp.example.com", ("data",), ("mcp:tools",))
JO = replace(JO, credential=CredentialRef("0123456789abcdef", expires_at=NOW + 3600))
CALL = Question("tools/call", JO, RequestInfo("0190", "10.0.0.1", NOW), name="tool_3_49", arguments={"amount": 10})
LIST = replace(CALL, action="tools/list", name=None, arguments=None)
NARROWED = replace(JO, tenant="tenant:5")
ASSIGNED = replace(JO, subject="user:5")
KEY = replace(JO, kind=CredentialKind.API_KEY, subject="service:bot", issuer=None, groups=(), scopes=())
KEY = replace(KEY, credential=CredentialRef("c_17", "developer"))
TOKEN = replace(KEY, kind=CredentialKind.TENANT_TOKEN, credential=CredentialRef("t_17", "developer", "5c09e"))
READ = replace(CALL, action="resources/read", name="file:///docs/1", arguments=None)
QUESTIONS = {
    "call": ("call", CALL),
    "call, allow list": ("call", replace(CALL, principal=NARROWED, name="tool_1_49")),
    "call, role assigned": ("call", replace(CALL, principal=ASSIGNED)),
    "call, key": ("call", replace(CALL, principal=KEY)),
    "call, token": ("call", replace(CALL, principal=TOKEN)),
    "call withdrawn": ("call", replace(CALL, name="tool_1_12")),
    "call unknown tool": ("call", replace(CALL, name="nothing")),
    "call unknown tenant": ("call", replace(CALL, principal=replace(JO, tenant="tenant:none"))),
    "prompt": ("call", replace(CALL, action="prompts/get", name="prompt_0_1")),
    "read": ("call", READ),
    "read by template": ("call", replace(READ, name="file:///more/1", templates=("file:///more/{name}",))),
    "list 50": ("list", replace(LIST, view=View.SERVER, server="s3")),
    "list 200": ("list", LIST),
    "list 200, allow list": ("list", replace(LIST, principal=NARROWED)),
    "admin": ("admin", replace(LIST, action="mcp_servers:read", tenant="tenant:4")),
}


def snapshot(tenants: int, packages: dict[str, list[str]]) -> dict[str, Any]:
    """Return everything that OPA is told of a front door with this many tenants."""
    manifest = {"manifest": {"revision": "r1"}}
    custom = {"manifest": {"revision": "r1", "metadata": {"packages": packages}}}
    bundles = {"policy": manifest, "custom": custom, "tenants": manifest, "live": manifest}
    return {"system": {"bundles": bundles}, "portcullis_data": data(tenants), "portcullis_live": live()}


def live() -> dict[str, Any]:
    """Return what has happened at runtime: a dozen withdrawals, and a token that is narrowed."""
    withdrawal = {"by": "user:root", "at": 0}
    return {
        "epoch": "0" * 32,
        "revision": 42,
        "generated_at": NOW,
        "withdrawn": {
            "global": {f"s1/tool_1_{number}": withdrawal for number in range(10)},
            "tenant": {"tenant:4": {"s1/tool_1_12": withdrawal}},
        },
        "revoked": {},
        "bindings": {},
        "groups": {},
        "scopes": {"5c09e": {"s3/tool_3_49": True}},
    }


def bench(folder: Path, custom: bool, entrypoint: str, asked: Question, runs: int) -> tuple[float, int, int]:
    """Return microseconds, bytes and allocations per decision, the best of its runs."""
    body = json.loads(encode(asked, Mode.FRONT_DOOR, custom=custom, max_arguments_bytes=1024))
    (folder / "input.json").write_text(json.dumps(body["input"]))
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
