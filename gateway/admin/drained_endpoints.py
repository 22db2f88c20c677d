"""Endpoints drained by operators, remembered for workers that start or reload later."""

from __future__ import annotations

import asyncio

from gateway.admin.fleet import Fleet

_EVERY_S = 1.0


class DrainedEndpoints:
    """Drained endpoints of all upstreams."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._drained: set[tuple[str, str]] = set()
        self._known: list[tuple[int, int]] = []

    async def set(self, upstream: str, endpoint: str, *, out: bool) -> bool:
        """Drain an endpoint, or let it back in. Return False if no worker knows it."""
        if out:
            self._drained.add((upstream, endpoint))
        else:
            self._drained.discard((upstream, endpoint))
        done = await self._send(upstream, endpoint, out=out)
        if not done:
            self._drained.discard((upstream, endpoint))
        return done

    async def keep(self) -> None:
        """Drain the endpoints in workers that start or reload. Runs until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._drained:
                continue
            replies = await self._fleet.ask("GET", "/status")
            known = [(one.document["pid"], one.document["reloads"]) for one in replies if one.ok]
            if known != self._known:
                self._known = known
                for upstream, endpoint in list(self._drained):
                    await self._send(upstream, endpoint, out=True)

    async def _send(self, upstream: str, endpoint: str, *, out: bool) -> bool:
        document = {"upstream": upstream, "endpoint": endpoint, "out": out}
        return any(one.ok for one in await self._fleet.ask("POST", "/drain", document))
