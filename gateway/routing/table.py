"""Route table: maps method, host and canonical path to a route."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.pipeline import Pipeline

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods that routes can serve."""
_CACHED_LOOKUPS = 4096
_LONGEST_CACHED = 512
"""Maximum length of a path whose match is cached, in characters."""


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """Route as the table sees it, with its pipeline."""

    name: str
    path: str
    """Path that the route serves; a path that ends in `/` is a prefix."""
    methods: frozenset[str]
    """Methods that the route serves; empty for every method."""
    hosts: frozenset[str]
    """Hosts that the route serves; empty for every host."""
    pipeline: Pipeline
    dialect: str
    upgrades: bool = False
    """True if the route serves WebSockets as well."""


@dataclass(frozen=True, slots=True)
class Match:
    """Result of a lookup: a route; or the methods that would have matched; or neither."""

    route: RouteEntry | None
    allowed: frozenset[str] = frozenset()


_NO_MATCH = Match(None)


class RouteTable:
    """Table that finds the most specific route: exact before prefix, longer before shorter, a route
    for certain hosts before one for all, a route for certain methods before one for all.
    """

    def __init__(self, routes: Iterable[RouteEntry]) -> None:
        self._routes = sorted(
            routes,
            key=lambda r: (r.path.endswith("/"), -len(r.path), not r.hosts, not r.methods),
        )
        self._found: dict[tuple[str, str, str], Match] = {}

    @property
    def routes(self) -> tuple[RouteEntry, ...]:
        """Routes in the order in which they are tried."""
        return tuple(self._routes)

    def find(self, method: str, host: str, path: str) -> Match:
        """Return the match for a canonical path and a lower-case host name."""
        key = (method, host, path)
        match = self._found.get(key)
        if match is None:
            match = self._look_up(method, host, path)
            if len(path) <= _LONGEST_CACHED:
                # Clients choose the paths, so the cache is bounded.
                if len(self._found) >= _CACHED_LOOKUPS:
                    self._found.clear()
                self._found[key] = match
        return match

    def _look_up(self, method: str, host: str, path: str) -> Match:
        allowed: set[str] = set()
        for route in self._routes:
            prefix = route.path
            if prefix.endswith("/"):
                if not path.startswith(prefix):
                    continue
            elif path != prefix:
                continue
            if route.hosts and host not in route.hosts:
                continue
            if not route.methods or method in route.methods:
                return Match(route)
            allowed |= route.methods
        return Match(None, frozenset(allowed)) if allowed else _NO_MATCH
