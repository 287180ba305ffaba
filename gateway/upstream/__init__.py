"""MCP servers as this gateway's own, of either era: over HTTP, and over the standard streams of processes started here.

`pool` is what the corridor uses; `server` is one server, or one process of one; `peer` is all that it knows of what
carries its messages. Over HTTP that is `http`, and `stream` what comes back, message by message; `connections`,
`connection` and `exchange` are HTTP/1.1 underneath. Over stdio it is `stdio`, and `inbox` what comes back; `processes`
has those of each `owner`, `starting` begins and ends them, `process` is one, `slots` says how many there may be. `era`
finds out which revision a server speaks; `sessions` keeps those of older servers apart by principal.
"""
