"""What real clients were seen to send, played to a gateway byte for byte."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from tests.support.raw import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

FOLDER = Path(__file__).parents[1] / "recordings"
# Stands for any value in an expected answer.
PRESENT = "<present>"
STREAM = "text/event-stream"
LISTEN = "subscriptions/listen"
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer must be; of headers and message what is named, of a list each element."""

    status: int
    content_type: str | None
    headers: Mapping[str, str]
    message: Any


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as its client writes it, but for {host}, {token} and {session}, and the answer that it must get."""

    what: str
    head: str
    body: bytes
    answer: Expected

    def request(self, host: str, token: str, session: str | None) -> bytes:
        """Return the bytes; a line with a session is left out where there is none."""
        lines = [line for line in self.head.splitlines() if session is not None or "{session}" not in line]
        text = "\r\n".join([*lines, "", ""])
        for name, value in (("host", host), ("token", token), ("session", session or "")):
            text = text.replace("{" + name + "}", value)
        return text.encode("latin-1") + self.body


@dataclass(frozen=True, slots=True)
class Recording:
    """One client's way to open a connection."""

    name: str
    client: str
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `message` is the JSON of the body, or of a stream the answer, None where there is neither."""

    status: int
    headers: Mapping[str, str]
    message: Any


def recordings() -> list[Recording]:
    """Read every recording."""
    return [_recording(path) for path in sorted(FOLDER.glob("*.yaml"))]


def differences(expected: Expected, answer: Answer) -> list[str]:
    """Return every way in which an answer is not the expected one."""
    wrong = [] if answer.status == expected.status else [f"status {answer.status}, not {expected.status}"]
    content_type = answer.headers.get("content-type", "").partition(";")[0] or None
    if expected.content_type not in (None, content_type):
        wrong.append(f"content type {content_type}, not {expected.content_type}")
    wrong += _unlike(expected.headers, dict(answer.headers), "headers")
    return wrong + _unlike(expected.message, answer.message, "message")


async def replay(recording: Recording, url: str, token: str) -> AsyncIterator[tuple[Exchange, Answer]]:
    """Send one request after the other, each on a connection of its own, and yield what comes back."""
    session = None
    for exchange in recording.exchanges:
        request = exchange.request(urlsplit(url).netloc, token, session)
        async with connected(url) as (reader, writer), asyncio.timeout(SECONDS):
            writer.write(request)
            answer = await _answer(reader, json.loads(exchange.body or b"{}"))
        session = answer.headers.get("mcp-session-id", session)
        yield exchange, answer


def _recording(path: Path) -> Recording:
    read = yaml.safe_load(path.read_text())
    return Recording(path.stem, read["client"], tuple(_exchange(one) for one in read["exchanges"]))


def _exchange(one: dict[str, Any]) -> Exchange:
    answer = one["answer"]
    expected = Expected(answer["status"], answer.get("content_type"), answer.get("headers", {}), answer.get("message"))
    return Exchange(one["what"], one["head"], one.get("body", "").encode(), expected)


def _unlike(expected: Any, found: Any, where: str) -> list[str]:
    if expected in (None, PRESENT):
        return [f"no {where}"] if expected == PRESENT and found is None else []
    if isinstance(expected, dict) and isinstance(found, dict):
        pairs = [(expected[name], found.get(name), f"{where}.{name}") for name in expected]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(*pair, f"{where}[{index}]") for index, pair in enumerate(zip(expected, found, strict=True))]
    else:
        return [] if expected == found else [f"{where} is {found!r}, not {expected!r}"]
    return [difference for pair in pairs for difference in _unlike(*pair)]


async def _answer(reader: asyncio.StreamReader, request: Mapping[str, Any]) -> Answer:
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields if field)}
    if headers.get("content-type", "").startswith(STREAM):
        # A stream that answers no request is open for as long as its client wants it to be.
        message = await _streamed(reader, headers, request) if "id" in request else None
    else:
        body = await _body(reader, headers)
        message = json.loads(body) if "json" in headers.get("content-type", "") and body else None
    return Answer(int(line.split(" ")[1]), headers, message)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        return b"".join([chunk async for chunk in _chunks(reader)])
    return await reader.readexactly(int(headers.get("content-length", 0)))


async def _streamed(reader: asyncio.StreamReader, headers: Mapping[str, str], request: Mapping[str, Any]) -> Any:
    buffer = b""
    async for chunk in _chunks(reader) if "transfer-encoding" in headers else _whole(reader, headers):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for data in (line[5:].strip() for line in lines if line.startswith(b"data:")):
            # An event without data only gives the client an id to come back with.
            message = json.loads(data) if data else {}
            # So is one that was subscribed to, which says first what for.
            if request["method"] == LISTEN or (message.get("id") == request["id"] and "method" not in message):
                return message
    return None


async def _whole(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    yield await _body(reader, headers)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
