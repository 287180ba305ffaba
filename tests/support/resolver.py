"""A resolver that answers what it is told to."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult


class Answers(AbstractResolver):
    """Answers each resolution with the next of the given lists of addresses, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the next list, whatever the name."""
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [self._result(host, port, address) for address in addresses]

    @staticmethod
    def _result(host: str, port: int, address: str) -> ResolveResult:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        flags = socket.AI_NUMERICHOST
        return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)

    async def close(self) -> None:
        """Nothing to close."""
