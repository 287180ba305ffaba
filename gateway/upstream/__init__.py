"""MCP servers as this gateway's own: of either era, over HTTP, one connection pool and one set of sessions each.

`pool` is what the corridor uses; `server` is one server; `http` carries messages, and `stream` what comes back, message
by message; `connections`, `connection` and `exchange` are HTTP/1.1 underneath; `era` finds out which revision a server
speaks; `sessions` keeps those of older servers apart by principal.
"""
