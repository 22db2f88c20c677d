"""CPU time of the serving process for each request and each event, of several systems in turns.

All systems run at once, on one core; the backend and the load are on another. In every round each
system has each workload once, and the order is reversed from round to round. A ratio is of two
figures of the same round, so that what slows the machine slows both.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.answers import WrongAnswer, check, check_translated
from benchmarks.peers import Family, Peer, of_checkout
from benchmarks.processes import CannotRun, cores, free_ports, running
from benchmarks.processor import cpu_us, pss_kib
from benchmarks.progress import Progress, tell
from benchmarks.systems import System, start
from benchmarks.workloads import Run, Workload

_OTHER = "other "
_WARM_S = 0.5
_LONGEST_S = 20.0
_IDLE_S = 0.02
_REST_S = 5.0
_BETWEEN_S = 0.1
"""Time that a run takes beside the load."""


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
    """Systems, and workloads of systems, that could not be measured, and why."""


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
    """Measure every workload through every system.

    A peer that is not installed or does not answer like the backend is left out; one that fails
    under a workload, or does not answer in time, is left out of this one. Raise CannotRun or
    WrongAnswer for a gateway that does not run or answers wrongly.
    """
    mockllm, sseload = tools
    (backend,) = free_ports(1)
    with ExitStack() as stack:
        command, log = [str(mockllm), str(backend)], folder / "backend.log"
        stack.enter_context(running(command, backend, core=cores()[1], log=log))
        turns = _Turns(sseload, seconds)
        for peer in peers:
            try:
                system = start(peer, backend, folder, stack)
                check_peer(peer, system, backend)
            except (CannotRun, WrongAnswer) as exc:
                if peer.root is not None:
                    raise  # at once, before the rest of a long run
                turns.leave_out(peer.name, exc)
            else:
                turns.join(peer, system, workloads)
        planned = [
            (number, workload)
            for number in range(rounds)
            for workload in workloads
            if number < workload.most_rounds
        ]
        progress = Progress(turns.seconds(workload) for _, workload in planned)
        for number, workload in planned:
            progress.begin(f"round {number + 1} of {rounds}: {workload.name}")
            turns.take(workload, backwards=number % 2 == 1)
    return turns.found


def check_peer(peer: Peer, system: System, backend: int) -> None:
    """Compare the answers of a running peer with the backend's own. Raise WrongAnswer."""
    if peer.family is Family.TRANSLATING:
        check_translated(system.port, backend)
    else:
        check(system.port, backend, system.token, rewritten=peer.rewrites)


_FAILURES = (WrongAnswer, OSError, ValueError, subprocess.SubprocessError)
"""Ways in which a system fails under a load: it answers wrongly or late, or it has ended."""


class _Turns:
    """Systems that take turns."""

    def __init__(self, sseload: Path, seconds: float) -> None:
        self.found = Found()
        self._sseload = sseload
        self._seconds = seconds
        self._systems: dict[str, System] = {}
        self._lengths: dict[tuple[str, str], float] = {}
        """Seconds of each run, by system and workload."""

    def join(self, peer: Peer, system: System, workloads: Sequence[Workload]) -> None:
        """Let a system take part in those of the workloads that it stands."""
        self._systems[peer.name] = system
        for workload in workloads:
            if not _is_for(workload, peer):
                continue
            try:
                needed = workload.warm(
                    self._sseload, system.port, system.token, min(self._seconds, _WARM_S)
                )
            except _FAILURES as exc:
                self.leave_out(f"{peer.name}, {workload.title},", exc)
            else:
                self._lengths[peer.name, workload.name] = max(self._seconds, needed)
        tell(f"{peer.name} is warm")

    def leave_out(self, what: str, why: Exception) -> None:
        """Note that something is not measured."""
        self.found.missing[what] = str(why).partition("\n")[0][:300]
        tell(f"{what} is left out: {self.found.missing[what]}")

    def seconds(self, workload: Workload) -> float:
        """Return how long one round of a workload takes, with the warm-up of each run."""
        lengths = [length for (_, name), length in self._lengths.items() if name == workload.name]
        return sum(1.2 * max(length, workload.least_s) + _BETWEEN_S for length in lengths)

    def take(self, workload: Workload, *, backwards: bool) -> None:
        """Run a workload once through every system. One that fails leaves the workload, with what
        was measured of it before: its figures would be of other rounds than those of the others.
        """
        rows = self.found.samples.setdefault(workload.name, {})
        names = list(self._systems)
        for name in reversed(names) if backwards else names:
            if (name, workload.name) not in self._lengths:
                continue
            try:
                rows.setdefault(name, []).append(self._sample(workload, name))
            except _FAILURES as exc:
                del self._lengths[name, workload.name]
                rows.pop(name, None)
                self.leave_out(f"{name}, {workload.title},", exc)

    def _sample(self, workload: Workload, name: str) -> Sample:
        system = self._systems[name]
        length = max(self._lengths[name, workload.name], workload.least_s)
        pids = system.pids
        before = cpu_us(pids)
        run = workload.run(self._sseload, system.port, system.token, length)
        if not run.units:  # too short for what else the machine does now
            if length > _LONGEST_S:
                raise WrongAnswer(f"{name}, {workload.name}: nothing in {length:.0f} s")
            self._lengths[name, workload.name] = 4 * length
            return self._sample(workload, name)
        sample = Sample((cpu_us(pids) - before) / run.units, pss_kib(pids), run)
        _rest(pids)
        return sample


def _rest(pids: list[int]) -> None:
    """Wait until processes are idle, so that what they still do of a run, such as requests whose
    callers have left, takes nothing from the next system's; for some seconds at most.
    """
    deadline = time.monotonic() + _REST_S
    while time.monotonic() < deadline:
        before = cpu_us(pids)
        time.sleep(_IDLE_S)
        if cpu_us(pids) - before < _IDLE_S * 1e6 / 4:
            return


def _is_for(workload: Workload, peer: Peer) -> bool:
    if peer.loads is None:
        return not workload.translated
    return workload.name in peer.loads


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
                base = reference(peer, peers, rows)
                lines.append(_row(workload, peer.name, rows[peer.name], rows[base], base))
        blocks.append("\n".join(lines))
    for name, why in found.missing.items():
        blocks.append(f"{name} was not measured: {why}")
    return "\n\n".join(blocks)


def reference(peer: Peer, peers: Sequence[Peer], rows: Mapping[str, Any]) -> str:
    """Return the system that a peer is divided by: the other checkout's same configuration, or else
    the family's gateway, or its first system.
    """
    if _OTHER + peer.name in rows:
        return _OTHER + peer.name
    family = [each for each in peers if each.family is peer.family and each.name in rows]
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
