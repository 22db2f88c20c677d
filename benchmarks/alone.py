"""What is measured of the gateway alone, since no peer has it or the bar names none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import disturbances, growth, loop_holds, slow_readers, websockets
from benchmarks.disturbances import P99
from benchmarks.growth import Growth
from benchmarks.loop_holds import Hold
from benchmarks.progress import tell
from benchmarks.websockets import Cost

_READERS = 500
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Alone:
    """Figures of the gateway alone."""

    growth: Growth
    disturbances: P99
    stalled_kib: float
    """Memory of a stream whose client does not read."""
    websockets: Cost
    holds: Sequence[Hold]


def measure(tools: tuple[Path, Path], folder: Path, seconds: float) -> Alone:
    """Measure all of it. Takes some five minutes. Raise CannotRun or WrongAnswer."""
    tell("alone: slow readers")
    stalled = slow_readers.measure(tools[0], _own(folder, "readers"), _READERS)
    tell("alone: WebSockets")
    sockets = websockets.measure(_own(folder, "websockets"), 1, names=("gateway",))["gateway"][0]
    tell("alone: holds of the event loop")
    holds = loop_holds.measure(_ROUNDS)
    return Alone(
        growth.measure(tools, _own(folder, "growth"), seconds),
        disturbances.measure(tools, _own(folder, "disturbances")),
        stalled.each_kib,
        sockets,
        holds,
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


def _own(folder: Path, name: str) -> Path:
    own = folder / name
    own.mkdir()
    own.chmod(0o711)
    return own
