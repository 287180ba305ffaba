"""HTTP/1.1 as data, no I/O: answers read strictly (RFC 9112), for the client that asks OPA and the one of MCP servers.

`head` reads status lines and fields, `body` undoes the framing, `request` writes what is sent.
"""
