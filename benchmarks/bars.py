"""Bars of a run: what the gateway is to reach, the figure of a run, and whether it is reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import disturbances, growth, open_streams
from benchmarks.alone import Alone
from benchmarks.cost import Found, Sample
from benchmarks.open_streams import Memory, kib_per_stream
from benchmarks.workloads import WORKLOADS

_TRANSLATED = ("translated64", "translated1", "translated-flood")
_BARE = ("nginx", "haproxy", "envoy", "vllm-router", "sglang-router", "litellm", "aiohttp")
_LOADS = ("unary64", "unary1", "unary512", "unary32k", "unary1m", "churn")
_STREAMS = ("paced", "burst", "burst2000")
_PERCENTILES = ("p50", "p99")


_STREAMS_OPEN = 10_000
_WEBSOCKETS = 5000
_TIMES = "×"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. `met` is None if the run has no figure for it. `best_peer` has the figure of the
    peer that comes nearest, for a bar that is not a ratio to a peer.
    """

    what: str
    bar: str
    figure: str
    met: bool | None
    best_peer: str = ""


def render(bars: Sequence[Bar], best_peers: Sequence[tuple[str, str, str]]) -> str:
    """Return the bars as a table, and one with the ratios to the best peers."""
    words = {True: "met", False: "**not met**", None: "not measured"}
    lines = ["| | bar | figure | | best peer |", "|---|--:|--:|---|---|"]
    lines += [
        f"| {bar.what} | {bar.bar} | {bar.figure} | {words[bar.met]} | {bar.best_peer} |"
        for bar in bars
    ]
    counted = [bar.met for bar in bars if bar.met is not None]
    lines += ["", f"{sum(counted)} of {len(counted)} bars are met.", ""]
    lines += ["CPU time of the best peer that can do the same, as a multiple of the gateway's:", ""]
    lines += ["| | gateway | best peer | multiple |", "|---|---|---|--:|"]
    lines += [f"| {what} | `{ours}` | {peer} |" for what, ours, peer in best_peers]
    return "\n".join(lines)


def bars(found: Found, memory: Memory, alone: Alone | None) -> list[Bar]:
    """Return every bar with its figure."""
    rows = _Rows(found)
    return [
        *_cpu(rows),
        *_delays(rows),
        *_memory(memory, alone),
        *(_alone(alone) if alone else ()),
    ]


class _Rows:
    """Samples by workload and system."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def of(self, load: str, system: str) -> Sequence[Sample]:
        """Return the samples of a system under a load; empty if there are none."""
        return self._found.samples.get(load, {}).get(system, [])

    def times_faster(self, load: str, system: str, ours: str) -> float | None:
        """Return the CPU time of a peer as a multiple of a gateway's, the median of the rounds."""
        theirs, own = self.of(load, system), self.of(load, ours)
        if not theirs or not own:
            return None
        each = [one.cpu_us / other.cpu_us for one, other in zip(theirs, own, strict=True)]
        return statistics.median(each)

    def time_us(self, load: str, system: str, what: str, percentile: str) -> float | None:
        """Return a time, the median of the rounds."""
        samples = self.of(load, system)
        known = [t for one in samples if (t := one.run.time_us(what, percentile)) is not None]
        return statistics.median(known) if known else None

    def percent_of_a_core(self, load: str, system: str) -> float | None:
        """Return how much of a core all streams of a load take, the median of the rounds."""
        samples = self.of(load, system)
        cpu_us = statistics.median(one.cpu_us for one in samples) if samples else None
        return None if cpu_us is None else cpu_us * WORKLOADS[load].events_per_s / 1e4

    def relay_p99_ms(self, load: str, system: str) -> float | None:
        """Return the delay of an event at the 99th percentile, the median of the rounds."""
        relay_us = self.time_us(load, system, "relay", "p99")
        return None if relay_us is None else relay_us / 1e3


def _least(what: str, least: float, figure: float | None, unit: str = _TIMES) -> Bar:
    said = "" if figure is None else f"{figure:.2f} {unit}"
    return Bar(what, f"≥ {least:g} {unit}", said, None if figure is None else figure >= least)


def _most(
    what: str,
    most: float,
    figure: float | None,
    unit: str,
    peers: Mapping[str, float | None] | None = None,
) -> Bar:
    """Return a bar for a figure that is to be small. `peers` has those of peers, by name."""
    digits = 2 if unit == _TIMES else 1
    said = "" if figure is None else f"{figure:,.{digits}f} {unit}"
    known = [(value, name) for name, value in (peers or {}).items() if value is not None]
    least, best = min(known, default=(0.0, ""))
    best_peer = f"`{best}`: {least:,.{digits}f} {unit}" if best else ""
    met = None if figure is None else figure <= most
    return Bar(what, f"≤ {most:,g} {unit}", said, met, best_peer)


def _cpu(rows: _Rows) -> Iterator[Bar]:
    yield _least(
        "CPU of `envoy-whole` / CPU of `gateway-whole`, small answers, 64 connections",
        1.2,
        rows.times_faster("unary64", "envoy-whole", "gateway-whole"),
    )
    yield _least(
        "CPU of `vllm-router` / CPU of `gateway`, small answers, 64 connections",
        1.5,
        rows.times_faster("unary64", "vllm-router", "gateway"),
    )
    for ours, peer in (("gateway", "envoy"), ("gateway-whole", "envoy-whole")):
        own, theirs = (rows.time_us("unary1", name, "total", "p50") for name in (ours, peer))
        figure = own / theirs if own and theirs else None
        yield _most(
            f"p50 of `{ours}` / p50 of `{peer}`, small answers, 1 connection", 1.0, figure, _TIMES
        )


def best_peers(found: Found) -> list[tuple[str, str, str]]:
    """Return the load, the gateway's configuration, and the best peer with its multiple."""
    rows = _Rows(found)
    compared: list[tuple[str, str, Sequence[str]]] = [
        *((load, "gateway", _BARE) for load in _LOADS),
        *((load, "gateway-whole", ("envoy-whole",)) for load in _LOADS),
        *((load, "gateway-translating", ("litellm-translating",)) for load in _TRANSLATED),
        ("unary64", "gateway-redis", ()),
        ("unary64", "gateway-resume", ()),
    ]
    said = []
    for load, ours, peers in compared:
        if not rows.of(load, ours):
            continue
        known = ((rows.times_faster(load, peer, ours), peer) for peer in peers)
        ratios = [(ratio, f"`{peer}`") for ratio, peer in known if ratio is not None]
        ratio, best = min(ratios, default=(None, "" if peers else "no peer does it"))
        cells = f"{best} | {ratio:.2f}" if ratio else f"{best} | "
        said.append((WORKLOADS[load].title, ours, cells))
    return said


def _delays(rows: _Rows) -> Iterator[Bar]:
    words = {"ttfb": "TTFT", "relay": "relay"}
    for load in _STREAMS:
        for what, word in words.items():
            for percentile in _PERCENTILES:
                own, nginx = (
                    rows.time_us(load, name, what, percentile) for name in ("gateway", "nginx")
                )
                title = f"{word} {percentile} of `gateway` / of `nginx`, {WORKLOADS[load].title}"
                figure = own / nginx if own and nginx else None
                yield _most(title, 1.0, figure, _TIMES)
    percent = {name: rows.percent_of_a_core("paced2000", name) for name in _BARE}
    own = rows.percent_of_a_core("paced2000", "gateway")
    yield _most("CPU of `gateway`, 2 000 streams of 20 events/s", 50, own, "% of a core", percent)
    relay = {name: rows.relay_p99_ms("paced2000", name) for name in _BARE}
    own = rows.relay_p99_ms("paced2000", "gateway")
    yield _most("Relay p99 of `gateway`, 2 000 streams of 20 events/s", 5, own, "ms", relay)
    cold, warm = (rows.time_us("burst", "gateway", what, "p99") for what in ("cold", "ttfb"))
    figure = cold / warm if cold and warm else None
    yield _most("TTFT p99 of a cold burst of 200 / of a warm one, `gateway`", 2.0, figure, _TIMES)


def _memory(memory: Memory, alone: Alone | None) -> Iterator[Bar]:
    kib = {name: kib_per_stream(held) for name, held in memory.items()}
    for name, peers in (("gateway", _BARE), ("gateway-whole", ("envoy-whole",))):
        title, best = f"Memory of an idle stream, `{name}`", {peer: kib.get(peer) for peer in peers}
        yield _most(title, 20, kib.get(name), "KiB", best)
    if alone:
        yield _most("Memory of a stalled reader", 96, alone.stalled_kib, "KiB")
    most = max(memory.get("gateway", ()), default=0)
    reached = most >= _STREAMS_OPEN if most else None
    said = f"{most:,}" if most else ""
    if most == open_streams.most() < _STREAMS_OPEN:
        reached, said = None, f"{most:,}: the machine's limit of open files allows no more"
    yield Bar(
        "Streams open at once on one worker, without an error",
        f"≥ {_STREAMS_OPEN:,}",
        said,
        reached,
    )


def _alone(alone: Alone) -> Iterator[Bar]:
    sockets = alone.websockets
    said = f"{sockets.connections:,}, {sockets.kib_per_connection:.1f} KiB each" if sockets else ""
    reached = sockets.connections >= _WEBSOCKETS if sockets else None
    yield Bar("WebSockets open at once", f"≥ {_WEBSOCKETS:,}", said, reached)
    two = growth.ratio(alone.growth, "workers", 2) if alone.growth else None
    beside = [
        f"{what} {growth.ratio(alone.growth, what, 2):.2f} ×"  # noqa: RUF001
        for what in ("workers of nginx", "threads of Envoy")
        if what in alone.growth
    ]
    title = "CPU for a request of two workers on one core / of one worker"
    yield _most(f"{title} ({', '.join(beside)})" if beside else title, 1.05, two, _TIMES)
    for name in disturbances.NAMES:
        moved = disturbances.ratio(alone.disturbances, name) if alone.disturbances else None
        yield _most(f"Relay p99 during {name} / without it, 200 streams", 1.1, moved, _TIMES)
    title, worst_ms = "Longest hold of the loop by one caller", None
    if alone.holds:
        worst = max(alone.holds, key=lambda hold: hold.cpu_ms)
        title += f": {worst.shape}, {worst.route}, {worst.size}"
        worst_ms = worst.cpu_ms
    yield _most(title, 50, worst_ms, "ms of CPU")
