"""CPU time of the serving process for each request and each event, of several systems in turns.

All systems run at once, on one core; the backend and the load are on another. In every round each
system has each workload once, and the order is reversed from round to round. A ratio is of two
figures of the same round, so that what slows the machine slows both.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.answers import WrongAnswer, check
from benchmarks.peers import Peer, Place, of_checkout
from benchmarks.processes import CannotRun, cores, free_ports, redis_server, running
from benchmarks.processor import cpu_us, family_of, pss_kib, worker_of
from benchmarks.tokens import bearer
from benchmarks.workloads import Run, Workload

_OTHER = "other "


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one workload through one system."""

    cpu_us: float
    """For each unit of the workload: request or event."""
    pss_kib: int
    run: Run


@dataclass(slots=True)
class Found:
    """Samples of all systems, by workload and system; one for each round."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Systems that could not be measured, and why."""


@dataclass(frozen=True, slots=True)
class _Serving:
    port: int
    pids: Callable[[], list[int]]
    token: str | None


def against(peers: Sequence[Peer], checkout: Path) -> list[Peer]:
    """Return the peers, and before each gateway the same of another checkout."""
    found: list[Peer] = []
    for peer in peers:
        if peer.root is not None:
            found.append(of_checkout(peer, _OTHER + peer.name, checkout.absolute()))
        found.append(peer)
    return found


def measure(
    peers: Sequence[Peer],
    workloads: Sequence[Workload],
    tools: tuple[Path, Path],
    folder: Path,
    *,
    rounds: int,
    seconds: float,
) -> Found:
    """Measure every workload through every system. A peer that is not installed, or does not
    answer like the backend, is left out. Raise CannotRun or WrongAnswer for a gateway.
    """
    mockllm, sseload = tools
    _, theirs = cores()
    (backend,) = free_ports(1)
    found = Found()
    with ExitStack() as stack:
        log = folder / "backend.log"
        stack.enter_context(running([str(mockllm), str(backend)], backend, core=theirs, log=log))
        systems: dict[str, _Serving] = {}
        for peer in peers:
            try:
                system = _start(peer, backend, folder, stack)
                check(system.port, backend, system.token, rewritten=peer.rewrites)
                for workload in workloads:  # the first run of each is a warm-up
                    workload.run(sseload, system.port, system.token, theirs, min(seconds, 0.5))
            except (CannotRun, WrongAnswer) as exc:
                if peer.root is not None:
                    raise
                found.missing[peer.name] = str(exc).partition("\n")[0][:300]
            else:
                systems[peer.name] = system
            _tell(f"{peer.name} is {'warm' if peer.name in systems else 'left out'}")
        for number in range(rounds):
            order = list(systems) if number % 2 == 0 else list(reversed(systems))
            for workload in workloads:
                _tell(f"round {number + 1} of {rounds}: {workload.name}")
                for name in order:
                    system = systems[name]
                    pids = system.pids()
                    before = cpu_us(pids)
                    run = workload.run(sseload, system.port, system.token, theirs, seconds)
                    spent = (cpu_us(pids) - before) / run.units
                    rows = found.samples.setdefault(workload.name, {each: [] for each in systems})
                    rows[name].append(Sample(spent, pss_kib(pids), run))
    return found


def _start(peer: Peer, backend: int, folder: Path, stack: ExitStack) -> _Serving:
    ours, theirs = cores()
    place = Place.pick(folder / peer.name.replace(" ", "-"), backend)
    log, out = place.folder / "log", place.folder / "out"
    if peer.redis:
        stack.enter_context(redis_server(place.folder, theirs, place.redis))
    command = peer.command(place)
    process = stack.enter_context(
        running(command, place.port, core=ours, log=log, stdout=out, root=peer.root)
    )
    if peer.root is None:
        pids = lambda: family_of(process.pid)  # noqa: E731
    else:
        worker = worker_of(place.admin, theirs)
        pids = lambda: family_of(worker)  # noqa: E731
    return _Serving(place.port, pids, bearer() if peer.token else None)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- tables --------------------------------------------------------------------------------


def render(found: Found, workloads: Sequence[Workload], peers: Sequence[Peer]) -> str:
    """Return a table for each workload: CPU time, its ratio to the reference of the family, rate
    and times.
    """
    blocks = []
    for workload in workloads:
        rows = found.samples.get(workload.name, {})
        lines = [f"### {workload.title}", "", *_header(workload)]
        for peer in peers:
            if peer.name in rows:
                base = _reference(peer, peers, rows)
                lines.append(_row(workload, peer.name, rows[peer.name], rows[base], base))
        blocks.append("\n".join(lines))
    for name, why in found.missing.items():
        blocks.append(f"{name} was not measured: {why}")
    return "\n\n".join(blocks)


def _reference(peer: Peer, peers: Sequence[Peer], rows: Mapping[str, Any]) -> str:
    """Return the system that a peer is divided by: the other checkout's same configuration, or else
    the family's gateway, or its first system.
    """
    if _OTHER + peer.name in rows:
        return _OTHER + peer.name
    family = [each for each in peers if each.token == peer.token and each.name in rows]
    ours = [each for each in family if each.root is not None and not each.name.startswith(_OTHER)]
    if peer.name.startswith(_OTHER):
        return peer.name
    return (ours or family)[0].name


_TIMES = {
    False: (("p50", "total", "p50"), ("p99", "total", "p99")),
    True: (
        ("TTFT p50", "ttfb", "p50"),
        ("TTFT p99", "ttfb", "p99"),
        ("relay p50", "relay", "p50"),
        ("relay p99", "relay", "p99"),
    ),
}
_COLD = (("cold p99", "cold", "p99"),)


def _header(workload: Workload) -> list[str]:
    heads = [f"µs of CPU/{workload.unit}", "quartiles", "ratio", "quartiles", "to"]
    heads += [f"{workload.unit}s/s", *(head for head, _, _ in _times(workload)), "PSS MiB"]
    return ["| | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]


def _times(workload: Workload) -> tuple[tuple[str, str, str], ...]:
    return _TIMES[workload.stream] + (_COLD if workload.burst else ())


def _row(
    workload: Workload, name: str, own: Sequence[Sample], base: Sequence[Sample], to: str
) -> str:
    ratios = [mine.cpu_us / other.cpu_us for mine, other in zip(own, base, strict=True)]
    cells = [*_spread([each.cpu_us for each in own], 1), *_spread(ratios, 2), to]
    cells.append(_number(statistics.median(each.run.rate for each in own)))
    for _, what, percentile in _times(workload):
        known = [t for each in own if (t := each.run.time_us(what, percentile)) is not None]
        cells.append(_number(statistics.median(known)) if known else "")
    cells.append(_number(statistics.median(each.pss_kib for each in own) / 1024))
    return f"| {name} | " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _spread(values: Sequence[float], digits: int) -> tuple[str, str]:
    """Return the median, and the quartiles."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}", ""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f}", f"{low:.{digits}f}–{high:.{digits}f}"  # noqa: RUF001
