"""The policy enforcement point: speaks MCP to agents, asks OPA, forwards what policy admits."""

from importlib.metadata import version

__version__ = version("portcullis")
