"""A server over stdio that remembers, written with the official MCP SDK: what it is told lives as long as its process.

python examples/stdio/notes.py
"""

from __future__ import annotations

from mcp.server import MCPServer


def notes() -> MCPServer:
    """Return a server that keeps notes in memory."""
    server = MCPServer("notes", log_level="WARNING", instructions="Notes, kept until this process ends.")
    kept: list[str] = []

    @server.tool()
    async def write_note(text: str) -> str:
        """Keep a note."""
        kept.append(text)
        return f"kept note {len(kept)}"

    @server.tool()
    async def read_notes() -> list[str]:
        """Return every note that was kept."""
        return list(kept)

    @server.tool()
    async def forget_notes() -> str:
        """Forget every note."""
        kept.clear()
        return "forgotten"

    return server


if __name__ == "__main__":
    notes().run("stdio")
