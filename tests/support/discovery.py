"""Sources of endpoints whose pauses end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from gateway.http.address_policy import AddressPolicy
from gateway.load.tasks import BackgroundLoop
from gateway.upstream.discovery.dns import DnsSource
from gateway.upstream.discovery.file import FileSource
from gateway.upstream.discovery.records import Question
from gateway.upstream.discovery.source import Found
from tests.support.dns import DnsServer
from tests.support.waiting import PATIENCE_S

POLICY = AddressPolicy()
LINK_LOCAL = "is link-local, where clouds keep their metadata"
"""Reason for which an address such as 169.254.169.254 is left out."""


class Told:
    """Endpoints and reports of sources. `round` ends the pause of the only source."""

    def __init__(self) -> None:
        self.sets: list[Sequence[Found]] = []
        self.reports: list[str] = []
        self.sources: list[BackgroundLoop] = []
        self._pauses: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Pause a source until `round`."""
        self._go.clear()
        self._pauses.put_nowait(seconds)
        await self._go.wait()

    async def round(self) -> float:
        """Let the source look once more. Return the pause that it wants then, in seconds."""
        self._go.set()
        async with asyncio.timeout(PATIENCE_S):
            return await self._pauses.get()

    @property
    def urls(self) -> list[str]:
        """URLs of the endpoints that were told last."""
        return [one.url for one in self.sets[-1]] if self.sets else []

    def by_dns(self, question: Question, server: DnsServer) -> None:
        """Follow a question."""
        source = DnsSource(
            question,
            changed=self.sets.append,
            report=self.reports.append,
            nameservers=[server.address],
            pause=self.pause,
        )
        self.start(source)

    def in_file(self, path: Path, policy: AddressPolicy = POLICY) -> None:
        """Follow a file."""
        self.start(
            FileSource(
                path,
                policy,
                changed=self.sets.append,
                report=self.reports.append,
                pause=self.pause,
            )
        )

    def start(self, source: BackgroundLoop) -> None:
        """Start a source. The fixture closes it."""
        self.sources.append(source)
        source.start()
