"""The front door, running: issuer, MCP servers and gateway, with tokens and the recipe's commands ready to paste.

make run                                    until Ctrl-C
make run ARGS="--port 8001 --issuer-port 9001 --server-port 8081"
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from demo import HERE, Demo, DemoError, adapted, require_free, running, token

CHECK_SECONDS = 0.5
RPC = '{"jsonrpc":"2.0","method":"tools/%s","params":%s,"id":1}'
COMMANDS = """
Load the tokens into another terminal, again after each start:

  . {variables}

Then the recipe; paste what you like:

  # what protects this resource?
  curl -s localhost:{port}/.well-known/oauth-protected-resource

  # without a token: 401, and where to get one
  curl -s -i localhost:{port}/mcp -H "Content-Type: application/json" -d '{list}'

  # tenant:b sees charge and refund, tenant:a sees charge only
  curl -s localhost:{port}/mcp -H "Authorization: Bearer $TENANT_B" -H "Content-Type: application/json" -d '{list}'
  curl -s localhost:{port}/mcp -H "Authorization: Bearer $TENANT_A" -H "Content-Type: application/json" -d '{list}'

  # call what is seen; anything else is an unknown tool
  curl -s localhost:{port}/mcp -H "Authorization: Bearer $TENANT_B" -H "Content-Type: application/json" -d '{call}'

  # withdraw refund from tenant:b, list again, and give it back
  curl -s -X POST localhost:{port}/api/admin/tools/payments/refund/withdraw -H "X-API-Key: $ADMIN_KEY" \\
    -H "Content-Type: application/json" -d '{{"tenant_id": "tenant:b"}}'
  curl -s -X POST localhost:{port}/api/admin/tools/payments/refund/restore -H "X-API-Key: $ADMIN_KEY" \\
    -H "Content-Type: application/json" -d '{{"tenant_id": "tenant:b"}}'

Logs, state and the configuration lie in {folder}. Ctrl-C stops it all.
"""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Run the front-door demo until Ctrl-C.")
    parser.add_argument("--host", default="127.0.0.1", help="where the gateway listens")
    parser.add_argument("--port", type=int, default=8000, help="the gateway's port")
    parser.add_argument("--server-port", type=int, default=8080, help="the MCP servers' port")
    parser.add_argument("--issuer-port", type=int, default=9090, help="the issuer's port")
    parser.add_argument("--policies", type=Path, help="a folder of Rego of your own")
    parser.add_argument("--folder", type=Path, default=Path(".run"), help="where state, logs and tokens go")
    return parser.parse_args()


def start(demo: Demo, options: argparse.Namespace) -> None:
    """Start everything, then print how to use it."""
    issuer = demo.issuer(options.issuer_port)
    endpoint = demo.servers(options.server_port)
    config = adapted(HERE / "config.yaml", demo.folder, issuer=issuer, endpoint=endpoint)
    if options.policies:
        with config.open("a") as file:
            file.write(f"opa:\n  custom_policies: {json.dumps(str(options.policies.absolute()))}\n")
    gateway = demo.gateway(config, options.port, host=options.host)
    variables = demo.folder / "tokens.sh"
    variables.touch(mode=0o600)
    tokens = {
        "TENANT_A": token(issuer, "agent-a"),
        "TENANT_B": token(issuer, "agent-b"),
        "ADMIN_KEY": demo.admin_key(config),
    }
    variables.write_text("".join(f"export {name}={value}\n" for name, value in tokens.items()))
    print(f"\n{gateway.said.read_text().strip()}\n")
    for name, value in tokens.items():
        print(f"{name}={value}")
    call = RPC % ("call", '{"name":"charge","arguments":{"amount":10}}')
    where = {"port": options.port, "variables": variables, "folder": demo.folder}
    print(COMMANDS.format(list=RPC % ("list", "{}"), call=call, **where), flush=True)


def main() -> int:
    """Run until a signal comes or a part ends by itself."""
    options = arguments()
    ports = {"--port": options.port, "--server-port": options.server_port, "--issuer-port": options.issuer_port}
    try:
        require_free(ports, options.host)
        print("Starting the front door …", flush=True)
        tell = lambda name, where, seconds: print(f"  {name:<8} {where:<28} {seconds:.1f} s", flush=True)  # noqa: E731
        with running(options.folder, tell) as demo:
            start(demo, options)
            while True:
                demo.require()
                time.sleep(CHECK_SECONDS)
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return 0
    except DemoError as error:
        print(f"\n{error}\nStopped.", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
