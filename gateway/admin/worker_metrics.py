"""Metrics of one worker: its counters, and its current state."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter

from gateway.auth.jwt import JwtProvider
from gateway.auth.key_sets import RemoteKeySet
from gateway.limiting.guard import Breaker
from gateway.load.slices import WorkSlices
from gateway.prompt_audit.audit_log import RecordResult
from gateway.proxy.progress import Progress, progress
from gateway.response_cache.use import CacheStatus
from gateway.routing.table import METHODS
from gateway.server.serving import Server
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.instruments import Instrument, InstrumentKind
from gateway.telemetry.metrics.registry import Labels, Snapshot
from gateway.upstream.health import EndpointState
from gateway.upstream.upstream import Upstream


class WorkerMetrics:
    """Metrics of one worker. Counters keep their values across reloads."""

    def __init__(self, server: Server, slot: int) -> None:
        self._server = server
        self._slot = str(slot)
        self._seen: dict[tuple[str, Labels], tuple[float, float]] = {}
        self._snapshot: Snapshot = {}
        self._taking = asyncio.Lock()

    async def snapshot(self) -> Snapshot:
        """Return the current values of all metrics. They are read in slices, so that no stream
        waits for them.
        """
        async with self._taking:
            return await self._taken()

    async def _taken(self) -> Snapshot:
        registry, slices = self._server.state.registry, WorkSlices()
        await registry.settle_in_slices()
        self._snapshot = {}
        for name, rows in registry.rows():
            self._snapshot[name] = rows
            if slices.over:
                await slices.pause()
        await self._requests(slices)
        self._process()
        self._limits()
        self._journal()
        self._channels()
        self._cache()
        self._prompt_audit()
        for upstream in [*self._server.runtime.upstreams.values()]:
            self._upstream(upstream)
            if slices.over:
                await slices.pause()
        return self._snapshot

    def _set(self, instrument: Instrument, value: float, *labels: str) -> None:
        if instrument.kind is InstrumentKind.COUNTER:
            value = self._total(instrument, value, labels)
        self._snapshot.setdefault(instrument.name, []).append([labels, value])

    def _total(self, instrument: Instrument, value: float, labels: Labels) -> float:
        """Return the total of a counter. A reload may replace its owner by one that starts at 0, so
        the value before it is added.
        """
        base, last = self._seen.get((instrument.name, labels), (0.0, 0.0))
        if value < last:
            base += last
        self._seen[instrument.name, labels] = base, value
        return base + value

    async def _requests(self, slices: WorkSlices) -> None:
        listener = self._server.listener
        routes = self._server.runtime.routes.routes
        # Report 0 for routes without requests: a graph has gaps where a series is missing.
        active: Counter[Labels] = Counter({("POST", route.name): 0 for route in routes})
        streams: Counter[Labels] = Counter({(route.name, "", ""): 0 for route in routes})
        silent = Counter(streams)
        for exchange in [*listener.exchanges]:
            if exchange.end_reason is not None:
                continue  # it has ended in an earlier slice
            now = time.perf_counter()
            route = exchange.route or ""
            method = exchange.method if exchange.method in METHODS else "_OTHER"
            active[method, route] += 1
            if exchange.first_byte_at is not None:
                streams[route, exchange.model or "", exchange.upstream or ""] += 1
            if progress(exchange, now)[0] is Progress.SILENT:
                silent[route, exchange.model or "", exchange.upstream or ""] += 1
            if slices.over:
                await slices.pause()
        for labels, count in active.items():
            self._set(table.ACTIVE_REQUESTS, count, *labels)
        for labels, count in streams.items():
            self._set(table.ACTIVE_STREAMS, count, *labels)
        for labels, count in silent.items():
            self._set(table.SILENT_STREAMS, count, *labels)
        self._set(table.CONNECTIONS, listener.open_connections)
        self._set(table.RUNTIMES, len(self._server.runtimes))
        for code, count in listener.refusals.items():
            self._set(table.REFUSED_CONNECTIONS, count, code)
        admission = self._server.runtime.admission
        for gate in admission.gates if admission is not None else ():
            self._set(table.QUEUE_DEPTH, gate.waiting, gate.name)
            self._set(table.QUEUE_PASSING, gate.passing, gate.name)

    def _process(self) -> None:
        server, slot = self._server, self._slot
        overload = server.state.overload
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._set(table.OVERLOAD_REFUSALS, overload.refused + server.state.bodies.refused)
        self._set(table.LOOP_LAG, server.loop_monitor.worst_lag_s, slot)
        self._set(table.MEMORY, overload.memory_bytes, slot)
        self._set(table.MEMORY_CAP, overload.max_memory_bytes, slot)
        self._set(table.CPU, used.ru_utime + used.ru_stime, slot)
        self._set(table.WORKER_START, server.started_at, slot)
        self._set(table.TRACE_DROPS, server.state.records.dropped)
        for name, count in server.state.registry.overflows.items():
            self._set(table.CLOSED_SERIES, count, name)

    def _limits(self) -> None:
        runtime = self._server.runtime
        store = runtime.stores.limits
        for state in Breaker:
            self._set(table.STORE_BREAKER, int(store.state is state), state.value)
        self._set(table.STORE_FAILURES, store.failures)
        self._set(table.UNSTORED_DECISIONS, store.without)
        self._set(table.LEASES, len(runtime.leases))
        for name, provider in runtime.providers.items():
            keys = provider.keys if isinstance(provider, JwtProvider) else None
            if isinstance(keys, RemoteKeySet):
                self._set(table.KEY_FETCHES, keys.fetches, name, "ok")
                self._set(table.KEY_FETCHES, keys.failures, name, "failed")

    def _journal(self) -> None:
        streams = self._server.runtime.streams
        self._set(table.JOURNAL_BYTES, streams.size_bytes)
        self._set(table.JOURNAL_CAP, streams.cap_bytes)
        self._set(table.JOURNAL_STREAMS, len(streams))
        self._set(table.JOURNAL_GENERATIONS, streams.generations)
        self._set(table.JOURNAL_EVICTIONS, streams.evicted)
        self._set(table.JOURNAL_DEFERRED, streams.deferred)
        self._set(table.JOURNAL_UNWRITTEN, streams.unwritten)
        self._set(table.JOURNAL_TAKEOVERS, streams.taken_over)

    def _channels(self) -> None:
        runtime = self._server.runtime
        channels = runtime.channels
        self._set(table.CHANNEL_BYTES, channels.size_bytes)
        open_now: Counter[str] = Counter()
        followers: Counter[str] = Counter()
        for channel in channels.all:
            open_now[channel.space.name] += 1
            followers[channel.space.name] += len(channel.followers)
        for route in runtime.config.routes:
            if route.channels is not None:
                counts = channels.counts_of(route.name)
                self._set(table.CHANNELS_OPEN, open_now[route.name], route.name)
                self._set(table.CHANNEL_FOLLOWERS, followers[route.name], route.name)
                self._set(table.CHANNEL_EVENTS, counts.published, route.name)
                self._set(table.CHANNEL_GAPS, counts.gaps, route.name)
                self._set(table.CHANNEL_DISCONNECTS, counts.disconnects, route.name)

    def _cache(self) -> None:
        runtime = self._server.runtime
        cache = runtime.answers
        if cache is None:
            return
        for route in runtime.config.routes:
            if route.cache is not None:
                for status in CacheStatus:
                    count = cache.counts.requests[route.name, status]
                    self._set(table.CACHE_REQUESTS, count, route.name, status)
                self._set(table.CACHE_STORED, cache.counts.stored[route.name], route.name)
        for labels, count in cache.counts.saved.items():
            self._set(table.CACHE_SAVED, count, *labels)
        store = cache.store
        self._set(table.CACHE_EVICTIONS, store.evicted)
        self._set(table.CACHE_FAILURES, cache.counts.failures)
        size = table.CACHE_SHARED_BYTES if store.is_shared else table.CACHE_BYTES
        self._set(size, store.size_bytes)

    def _prompt_audit(self) -> None:
        runtime = self._server.runtime
        log = runtime.prompt_audit
        if log is None:
            return
        counts = log.counts
        for route in runtime.config.routes:
            if route.audit_prompts is not None:
                for result in RecordResult:
                    count = counts.records[route.name, result]
                    self._set(table.AUDIT_RECORDS, count, route.name, result)
        self._set(table.AUDIT_BYTES, counts.written_bytes)
        self._set(table.AUDIT_QUEUE, log.queued_bytes)
        self._set(table.AUDIT_FAILING, int(log.destination.reason is not None))
        for step in ("write", "upload", "folder"):
            self._set(table.AUDIT_FAILURES, counts.failures[step], step)
        self._set(table.AUDIT_UPLOADS, counts.uploaded)
        self._set(table.AUDIT_REMOVALS, counts.removed)

    def _upstream(self, upstream: Upstream) -> None:
        name, counts = upstream.name, upstream.counts
        self._set(table.UPSTREAM_PENDING, upstream.pending, name)
        served = self._server.runtime.served
        if (polling := served.polling.get(name)) is not None:
            found = served.merged.by_upstream.get(name)
            self._set(table.UPSTREAM_MODELS, 0 if found is None else len(found.served), name)
            self._set(table.MODEL_LISTS, polling.asked, name, "ok")
            self._set(table.MODEL_LISTS, polling.failed, name, "failed")
        if (waking := upstream.waking) is not None:
            self._set(table.UPSTREAM_WAKING, int(waking.is_waking), name)
            self._set(table.WAITING_FOR_START, waking.waiting, name)
            self._set(table.UPSTREAM_STARTS, waking.starts, name)
        self._set(table.RETRIES, counts.retries, name)
        self._set(table.HEDGES, counts.hedges, name)
        self._set(table.EJECTIONS, counts.ejected - counts.slow, name, "failed")
        self._set(table.EJECTIONS, counts.slow, name, "slow")
        self._set(table.PANICS, counts.panics, name)
        self._set(table.RETRY_BUDGET, upstream.budget.balance, name)
        for endpoint in upstream.endpoints:
            now = upstream.state(endpoint)
            for state in EndpointState:
                self._set(table.ENDPOINT_STATE, int(state is now), name, endpoint.key, state.value)
            self._set(table.ENDPOINT_IN_FLIGHT, endpoint.in_flight, name, endpoint.key)
            self._set(table.ENDPOINT_CONNECTIONS, endpoint.pool.open, name, endpoint.key)
