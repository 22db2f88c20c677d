"""What is measured of the gateway alone, since no peer has it or the bar names none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import disturbances, growth, loop_holds, slow_readers, websockets
from benchmarks.disturbances import P99
from benchmarks.growth import Growth
from benchmarks.loop_holds import Hold
from benchmarks.progress import tried
from benchmarks.websockets import Cost

_READERS = 500
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Alone:
    """Figures of the gateway alone."""

    growth: Growth
    disturbances: P99
    stalled_kib: float | None
    """Memory of a stream whose client does not read."""
    websockets: Cost | None
    holds: Sequence[Hold]


def measure(tools: tuple[Path, Path], folder: Path, seconds: float) -> Alone:
    """Measure all of it. Takes some five minutes. What fails is empty or None."""

    def own(name: str) -> Path:
        made = folder / name
        made.mkdir()
        made.chmod(0o711)
        return made

    stalled = tried("slow readers", lambda: slow_readers.measure(tools[0], own("slow"), _READERS))
    sockets = tried("WebSockets", lambda: websockets.measure(own("ws"), 1, names=("gateway",)))
    return Alone(
        tried("growth", lambda: growth.measure(tools, own("growth"), seconds)) or {},
        tried("disturbances", lambda: disturbances.measure(tools, own("disturbed"))) or {},
        stalled.each_kib if stalled else None,
        sockets["gateway"][0] if sockets else None,
        tried("holds of the event loop", lambda: loop_holds.measure(_ROUNDS)) or (),
    )


def render(alone: Alone) -> str:
    """Return the tables of what grows and of what disturbs."""
    return "\n\n".join(
        [
            "CPU time as the configuration grows, of `gateway-whole` with 64 connections; in "
            "brackets the multiple of the first figure:",
            growth.render(alone.growth),
            "The delay of an event of 200 streams of 50 events/s through `gateway-whole`, while "
            "something else happens:",
            disturbances.render(alone.disturbances),
        ]
    )
