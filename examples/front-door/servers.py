"""The servers of the demo, written with the official MCP SDK: `payments`, with the four tools of the recipe.

python examples/front-door/servers.py --port 8080
"""

from __future__ import annotations

import argparse
from itertools import count

import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings


def payments() -> MCPServer:
    """Return a server that moves money nowhere."""
    server = MCPServer("payments", log_level="WARNING", instructions="Charges and refunds, all of them made up.")
    numbers = count(1)

    @server.tool()
    async def charge(amount: int, currency: str = "EUR") -> str:
        """Charge a customer's card. The amount is in cents."""
        return f"charged {amount} {currency}, receipt {next(numbers)}"

    @server.tool()
    async def refund(receipt: int) -> str:
        """Give a charge back."""
        return f"refunded receipt {receipt}"

    @server.tool()
    async def legacy_charge(amount: int) -> str:
        """Charge a card the old way."""
        return f"charged {amount} the old way"

    @server.tool()
    async def beta_tool(note: str = "") -> str:
        """Try what is not finished yet."""
        return f"beta says {note or 'nothing'}"

    return server


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="The payments server of the demo.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    # Under another name than localhost, as in compose.yaml, the SDK's check of the Host header has no name to expect.
    local = options.host in ("127.0.0.1", "localhost")
    security = None if local else TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = payments().streamable_http_app(json_response=True, transport_security=security, host=options.host)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
