"""Model lists of an upstream's endpoints: asked for again and again, the last good one is kept.

Each worker asks by itself, as it does for health checks.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import orjson

from gateway.dialects.listed_model import BadModelList, ListedModel, is_usable, unusable_text
from gateway.upstream.asking import asking, beginning, failure_of
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.endpoint_tasks import EndpointTasks
from gateway.upstream.upstream import Upstream

LONGEST_LIST_BYTES = 2 * 1024 * 1024
"""Largest list that is read. To parse it takes 10 ms."""
_JITTER = 0.2
"""Share of the interval by which it varies, so that gateways do not ask in step."""
_SOONEST_S = 2.0
"""Pause after the first failure; each further one doubles it, up to the interval."""
_FRAMING = frozenset({b"host", b"accept-encoding", b"connection"})


@dataclass(frozen=True, slots=True)
class PollOptions:
    """Request for a model list, and how to read the answer."""

    path_at: Callable[[str], str]
    """Return the path at an endpoint whose own base path is given."""
    read: Callable[[object], Sequence[ListedModel]]
    """Read a list, parsed from JSON. Raise BadModelList."""
    needed: Mapping[str, str] = field(default_factory=dict)
    """Header fields that the dialect needs, with names in lower case."""
    every_s: float = 60.0
    timeout_s: float = 5.0


@dataclass(slots=True)
class EndpointList:
    """List of one endpoint."""

    models: tuple[ListedModel, ...] | None = None
    """The last good list; None if there was none yet."""
    failing: str | None = None
    """Reason why the latest request brought no list; None if it did."""
    listed_at: float | None = None
    """Time of the last good list, in seconds since the epoch."""
    failures: int = 0
    """Failures since the last good list."""
    unusable: tuple[str, ...] = ()
    """Names in the last good list that the gateway cannot serve."""


Report = Callable[[str], None]


class ModelPolling:
    """Model lists of one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        options: PollOptions,
        *,
        changed: Callable[[], None],
        report: Report,
    ) -> None:
        """`changed` is called when the models have changed. `report` takes a text: that an
        endpoint's list fails, or that it works again.
        """
        self.upstream = upstream
        self.lists: dict[str, EndpointList] = {}
        """Lists by the endpoint's key."""
        self.asked = 0
        """Number of lists that were read."""
        self.failed = 0
        """Number of requests that brought none."""
        self._options = options
        self._changed = changed
        self._report = report
        self._tasks = EndpointTasks(upstream, self._keep_asking)
        self._refreshing = asyncio.Event()
        """Set when somebody wants new lists; replaced then."""
        self._refreshes = 0

    def start(self) -> None:
        """Start to ask. Needs a running event loop."""
        self._keep(self.upstream.endpoints)
        self.upstream.on_update.append(self._updated)
        self._tasks.start()

    def close(self) -> None:
        """Stop to ask."""
        self._tasks.close()
        if self._updated in self.upstream.on_update:
            self.upstream.on_update.remove(self._updated)

    def refresh(self) -> None:
        """Ask all endpoints now."""
        self._refreshes += 1
        self._refreshing.set()
        self._refreshing = asyncio.Event()

    async def first(self) -> None:
        """Ask the endpoints that were not asked yet, once. Takes no longer than one timeout."""
        new = [one for one in self.upstream.endpoints if one.key not in self.lists]
        await asyncio.gather(*map(self._list, new))

    def inherit(self, other: ModelPolling) -> None:
        """Take over the lists of another polling, if they were read in the same way."""
        if other._options.read is self._options.read and other._options.path_at(
            ""
        ) == self._options.path_at(""):
            self.lists = dict(other.lists)
        self.asked, self.failed = other.asked, other.failed

    def models(self) -> list[ListedModel]:
        """Return the models that any endpoint lists, each once, in the order of the endpoints."""
        found: dict[str, ListedModel] = {}
        for endpoint in self.upstream.endpoints:
            listed = self.lists.get(endpoint.key)
            for model in (listed and listed.models) or ():
                found.setdefault(model.name, model)
        return list(found.values())

    def _updated(self) -> None:
        """Follow a change of the endpoints."""
        before = self.models()
        self._keep(self.upstream.endpoints)
        if self.models() != before:
            self._changed()

    def _keep(self, endpoints: Sequence[Endpoint]) -> None:
        there = {endpoint.key for endpoint in endpoints}
        self.lists = {key: one for key, one in self.lists.items() if key in there}
        self._tell_lacking()

    def _tell_lacking(self) -> None:
        """Tell the upstream which endpoints lack a model that others have. One whose list is not
        known is taken to have all.
        """
        known = [
            (endpoint, {model.name for model in found.models})
            for endpoint in self.upstream.endpoints
            if (found := self.lists.get(endpoint.key)) is not None and found.models is not None
        ]
        every = set[str]().union(*(names for _, names in known))
        lacking = {
            name: tuple(endpoint for endpoint, names in known if name not in names)
            for name in every
        }
        self.upstream.lacking = {name: some for name, some in lacking.items() if some}

    async def _keep_asking(self, endpoint: Endpoint) -> None:
        options, seen = self._options, 0
        known = self.lists.get(endpoint.key)
        if known is not None and known.failing is None:
            await self._pause(options.every_s * random.random(), seen)  # noqa: S311
        while True:
            seen = self._refreshes
            await self._list(endpoint)
            failures = self.lists[endpoint.key].failures
            pause_s = options.every_s
            if failures:
                pause_s = min(pause_s, _SOONEST_S * 2 ** min(failures - 1, 20))
            spread = random.uniform(-_JITTER, _JITTER)  # noqa: S311
            await self._pause(pause_s * (1.0 + spread), seen)

    async def _pause(self, seconds: float, seen: int) -> None:
        """Wait, until `refresh` is called at most. `seen` is the number of calls before the list
        that was read last.
        """
        if self._refreshes != seen:
            return
        refreshed = self._refreshing
        try:
            async with asyncio.timeout(seconds):
                await refreshed.wait()
        except TimeoutError:
            pass

    async def _list(self, endpoint: Endpoint) -> None:
        """Ask one endpoint, and keep what it lists."""
        found = self.lists.setdefault(endpoint.key, EndpointList())
        options = self._options
        try:
            async with asyncio.timeout(options.timeout_s):
                listed = await self._ask(endpoint)
        except TimeoutError:
            self._fails(endpoint, found, f"no answer within {options.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as exc:
            self._fails(endpoint, found, failure_of(exc))
        except BadModelList as exc:
            self._fails(endpoint, found, str(exc))
        else:
            self.asked += 1
            if found.failing is not None:
                self._report(f"{endpoint.key}: lists its models again")
            before = self.models()
            found.failing, found.failures, found.listed_at = None, 0, time.time()
            unusable = tuple(one.name for one in listed if not is_usable(one.name))
            if unusable and unusable != found.unusable:
                self._report(f"{endpoint.key}: {unusable_text(unusable)}")
            found.unusable = unusable
            models = tuple(one for one in listed if is_usable(one.name))
            if found.models != models:
                found.models = models
                self._tell_lacking()
                if self.models() != before:
                    self._changed()

    def _fails(self, endpoint: Endpoint, found: EndpointList, why: str) -> None:
        self.failed += 1
        found.failures += 1
        if found.failing is None:
            state = "the last list stays in use" if found.models else "it has no list yet"
            self._report(f"{endpoint.key}: {state}: {why}")
        found.failing = why

    async def _ask(self, endpoint: Endpoint) -> tuple[ListedModel, ...]:
        """Return what the endpoint lists. Raise BadModelList, aiohttp.ClientError or OSError."""
        options = self._options
        fields = {**options.needed, **_fields(endpoint.fixed_lines), "accept-encoding": "identity"}
        path = options.path_at(endpoint.pool.address.base)
        async with asking(endpoint, path, fields.items()) as response:
            if response.status in (401, 403):
                raise BadModelList(f"status {response.status}: check its `credentials`")
            if response.status != 200:
                raise BadModelList(f"status {response.status}")
            data = await beginning(response, LONGEST_LIST_BYTES + 1)
        if len(data) > LONGEST_LIST_BYTES:
            raise BadModelList(f"longer than {LONGEST_LIST_BYTES // 1024**2} MiB")
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise BadModelList("is not JSON") from None
        return tuple(options.read(document))


def _fields(lines: bytes) -> dict[str, str]:
    """Return the header fields that an endpoint's requests have, apart from those of framing, with
    names in lower case.
    """
    pairs = (line.split(b": ", 1) for line in lines.split(b"\r\n") if line)
    return {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in pairs
        if name.lower() not in _FRAMING
    }
