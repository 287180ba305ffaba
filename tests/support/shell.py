"""`curl` and `jq` for a machine that has neither: as much of them as README's commands use."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def path_with_stand_ins(folder: Path, path: str) -> str:
    """Return a PATH on which both are found; the real ones where the machine has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("curl", "jq"):
        if shutil.which(name, path=path) is None:
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__)}" {name} "$@"\n')
            script.chmod(0o755)
    return f"{path}:{folder}"


def curl(arguments: list[str]) -> str:
    """Do what `curl -s [-i] [-X POST] [-H …] [-d …] URL` does."""
    url, headers, body, shown, method = "", {}, None, False, None
    rest = iter(arguments)
    for one in rest:
        match one:
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case "-d":
                body = next(rest).encode()
            case "-X":
                method = next(rest)
            case "-i" | "-s":
                shown = shown or one == "-i"
            case _:
                url = one if "://" in one else f"http://{one}"
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        answer: Any = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *map(": ".join, answer.headers.items()), "", ""]
        return ("\r\n".join(lines) if shown else "") + answer.read().decode()


def jq(arguments: list[str]) -> str:
    """Do what `jq [-c] [-r] FILTER` does for these filters, for one document on standard input."""
    flags, expression = set(arguments[:-1]), arguments[-1]
    document = json.load(sys.stdin)
    if (member := expression.removeprefix(".")).isidentifier():
        return f"{document[member]}\n"
    names = [tool["name"] for tool in document.get("result", {}).get("tools", [])]
    text = document.get("result", {}).get("content", [{}])[0].get("text")
    found: Any = {
        "[.result.tools[].name]": names,
        ".result.content[0].text": text,
        ".result.content[0].text // .error.message": text or document.get("error", {}).get("message"),
    }[expression]
    written = found if "-r" in flags and isinstance(found, str) else json.dumps(found, separators=(",", ":"))
    return f"{written}\n"


if __name__ == "__main__":
    sys.stdout.write({"curl": curl, "jq": jq}[sys.argv[1]](sys.argv[2:]))
