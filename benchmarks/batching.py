"""Micro-batching: what a route's `batch` saves, and the delay that it costs, by the size of batches
and by the rate of the streams.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.answers import WrongAnswer
from benchmarks.peers import Place, gateway
from benchmarks.plots import lines
from benchmarks.processes import cores, free_ports, running
from benchmarks.processor import cpu_us, family_of, worker_of

STREAMS = 200
SIZES = (1, 4, 8, 16)
"""Events of a batch; 1 is a route without `batch`."""
RATES = (10, 50, 200)
"""Events per second of each stream."""
_ROOM = 1.25
"""`max_delay` as a multiple of the time in which a batch fills up."""
_LONGEST_S = 2.0
_PACKET_BYTES = 66
"""Ethernet, IPv4 and TCP with timestamps."""
_FEWEST = 2
"""Batches of a stream in a measurement."""
_SLACK_S = 20.0


@dataclass(frozen=True, slots=True)
class Cell:
    """Cost of one size of batches at one rate."""

    size: int
    rate: int
    cpu_us: float
    """CPU time of the worker for each event."""
    events_per_read: float
    p50_ms: float
    p99_ms: float
    """Time from the backend's write of an event to the client's read."""
    event_bytes: float
    """Bytes on the wire for each event, with the headers of its packet."""

    @property
    def events_per_core(self) -> float:
        """Events per second that one core could pass on."""
        return 1e6 / self.cpu_us


def measure(mockllm: Path, sseload: Path, folder: Path, rounds: int, seconds: float) -> list[Cell]:
    """Measure every cell for so many seconds, through one gateway with a route for each. Return the
    medians of the rounds. Raise CannotRun or WrongAnswer.
    """
    ours, theirs = cores()
    with ExitStack() as stack:
        (backend,) = free_ports(1)
        place = Place.pick(folder / "batching", backend)
        log = place.folder / "log"
        stack.enter_context(running([str(mockllm), str(backend)], backend, core=theirs, log=log))
        command = gateway(
            place.folder,
            place.port,
            backend,
            admin={"listen": f"127.0.0.1:{place.admin}"},
            telemetry={"log": {"access": False}, "metrics": None, "traces": None},
            **{"routes": _routes()},  # type: ignore[arg-type]
        )
        stack.enter_context(running(command, place.port, core=ours, log=log))
        pids = family_of(worker_of(place.admin, theirs))
        found: dict[tuple[int, int], list[Cell]] = {}
        for number in range(rounds):
            for rate, size in product(RATES, SIZES):
                say = f"round {number + 1} of {rounds}: batches of {size} at {rate}/s"
                print(say, file=sys.stderr, flush=True)
                cell = _cell(size, rate, sseload, place.port, pids, seconds)
                found.setdefault((rate, size), []).append(cell)
        return [_middle(cells) for cells in found.values()]


def _middle(cells: Sequence[Cell]) -> Cell:
    """Return the cell with the median of each figure."""
    return Cell(
        **{
            field.name: type(getattr(cells[0], field.name))(
                statistics.median(getattr(cell, field.name) for cell in cells)
            )
            for field in fields(Cell)
        }
    )


def _routes() -> list[dict[str, Any]]:
    return [
        {
            "name": f"b{size}r{rate}",
            "path": f"/b{size}r{rate}/",
            "strip": True,
            "auth": "anonymous",
            "upstream": "mock",
            "batch": None
            if size == 1
            else {
                "max_events": size,
                "max_delay": f"{round(1e3 * min(_LONGEST_S, _ROOM * size / rate))}ms",
                "max_bytes": "64KiB",
            },
        }
        for size in SIZES
        for rate in RATES
    ]


def _cell(size: int, rate: int, sseload: Path, port: int, pids: list[int], seconds: float) -> Cell:
    """Measure one cell. The streams begin in the warm-up and outlast the measurement, so that what
    is measured are events alone.
    """
    _, core = cores()
    # All streams send at about the same times. A measurement is a whole number of batches.
    fills_s = size / rate
    measured_s = fills_s * max(_FEWEST, round(seconds / fills_s))
    warm_s = 1.0 + fills_s
    # sseload counts the last five sixths of its time, which is 1.2 times what it is told.
    told_s = (measured_s + 1.5 * warm_s) / 1.2
    length = round(rate * (measured_s + _SLACK_S))
    command = [str(sseload), "-p", str(port), "-c", str(STREAMS), "-d", str(told_s), "-s"]
    command += ["-m", f"mock-{length}-{round(1e6 / rate)}", "-u"]
    command += [f"/b{size}r{rate}/v1/chat/completions"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    try:
        time.sleep(warm_s)
        began, before = time.monotonic(), cpu_us(pids)
        time.sleep(measured_s)
        share = (cpu_us(pids) - before) / (time.monotonic() - began)
        said, _ = process.communicate(timeout=measured_s + _SLACK_S)
    finally:
        process.kill()
        process.wait()
    figures = json.loads(said)
    if figures["errors"] or figures["non200"] or not figures["events"]:
        raise WrongAnswer(f"batches of {size} at {rate}/s: {said}")
    reads, events = figures["reads"], figures["events"]
    passed = float(STREAMS * rate)
    if fills_s < measured_s / 20:
        passed = min(passed, figures["eps"])  # fewer, if the core is too slow
    return Cell(
        size=size,
        rate=rate,
        cpu_us=share / passed,
        events_per_read=events / reads,
        p50_ms=figures["relay_us"]["p50"] / 1e3,
        p99_ms=figures["relay_us"]["p99"] / 1e3,
        event_bytes=(figures["wire_bytes"] + _PACKET_BYTES * reads) / events,
    )


def render(cells: Sequence[Cell]) -> str:
    """Return the table."""
    text = [
        "| events/s of a stream | batch | events in a write | events/s per core | µs of CPU/event "
        "| CPU saved | delay p50, ms | delay p99, ms | bytes/event | bytes saved |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    alone = {cell.rate: cell for cell in cells if cell.size == 1}
    for cell in cells:
        base = alone[cell.rate]
        rate = f"{cell.events_per_core:,.0f}".replace(",", " ")
        row = [
            str(cell.rate),
            "off" if cell.size == 1 else str(cell.size),
            f"{cell.events_per_read:.1f}",
            rate,
            f"{cell.cpu_us:.1f}",
            _saved(cell.cpu_us, base.cpu_us),
            f"{cell.p50_ms:.1f}",
            f"{cell.p99_ms:.1f}",
            f"{cell.event_bytes:.0f}",
            _saved(cell.event_bytes, base.event_bytes),
        ]
        text.append(f"| {' | '.join(row)} |")
    return "\n".join(text)


def _saved(now: float, before: float) -> str:
    return f"{100 * (1 - now / before):.0f} %"


def plots(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the plots by name."""

    def by_rate(value: str) -> dict[str, list[tuple[float, float]]]:
        return {
            f"{rate} events/s": [
                (cell.size, getattr(cell, value)) for cell in cells if cell.rate == rate
            ]
            for rate in RATES
        }

    axis = "events in a batch"
    return {
        "batching-events": lines(
            f"Batching events, {STREAMS} streams: events/s that a core passes on",
            (axis, "events/s"),
            by_rate("events_per_core"),
        ),
        "batching-delay": lines(
            f"Batching events, {STREAMS} streams: p99 of the delay of an event",
            (axis, "ms"),
            by_rate("p99_ms"),
        ),
    }
