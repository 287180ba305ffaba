"""The Model Context Protocol as data: values in, values out, no I/O.

`json` decodes strictly, `envelope` tells requests from notifications, `eras` and `headers` run the ladder of each
revision, `results` writes what the gateway answers, `answers` reads what a server answered, `tools` treats the
definitions of tools, `sse` takes a stream apart.
"""
