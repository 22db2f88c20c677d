"""Memory of streams that are open and send nothing, for each peer."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.answers import WrongAnswer
from benchmarks.cost import check_peer
from benchmarks.peers import Peer
from benchmarks.processes import CannotRun, cores, free_ports, running
from benchmarks.processor import pss_kib
from benchmarks.progress import Progress, tell
from benchmarks.systems import System, start

COUNTS = (0, 500, 1000, 2000, 4000, 10_000)
_PIECE = 500
_SPARE_FILES = 500
_OPENING_S = 60.0
_SETTLING_S = 0.7
"""Time after which every first event has been passed on."""
_SILENT = "mock-3-600000000"
"""One event, and the next after ten minutes."""
_PEER_S = 12.0
"""About what a peer takes."""

Memory = Mapping[str, Mapping[int, int]]
"""KiB by the number of open streams, for each peer."""


def measure(peers: Sequence[Peer], tools: tuple[Path, Path], folder: Path) -> Memory:
    """Return the proportional set size of each peer in KiB, by the number of open streams. A peer
    that is not installed or answers differently is left out; one that fails to open more streams
    has only the numbers that it reached.
    """
    mockllm, sseload = tools
    found: dict[str, dict[int, int]] = {}
    taking_part = [peer for peer in peers if peer.loads is None]
    progress = Progress(_PEER_S for _ in taking_part)
    for peer in taking_part:
        progress.begin(f"open streams: {peer.name}")
        held: dict[int, int] = {}
        (backend,) = free_ports(1)
        command, log = [str(mockllm), str(backend)], folder / "backend.log"
        try:
            # A backend of its own: the last one's port may have closed connections waiting.
            with running(command, backend, core=cores()[1], log=log):
                _hold(peer, backend, folder, sseload, held)
        except (CannotRun, WrongAnswer) as exc:
            tell(f"no more than {max(held, default=0)} streams: {str(exc)[:300]}")
        if held:
            found[peer.name] = held
    return found


def kib_per_stream(held: Mapping[int, int]) -> float:
    """Return the KiB that each of the most streams takes that were open; 0 if none were."""
    most = max(held)
    return (held[most] - held[0]) / most if most else 0.0


def most() -> int:
    """Return how many streams the limit of open files allows: each has two files in a proxy."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (soft - _SPARE_FILES) // 2


def _hold(peer: Peer, backend: int, folder: Path, sseload: Path, held: dict[int, int]) -> None:
    """Add the memory of a peer that holds more and more streams."""
    own = folder / "streams"
    own.mkdir(exist_ok=True)
    own.chmod(0o711)
    with ExitStack() as stack:
        system = start(peer, backend, own, stack)
        check_peer(peer, system, backend)
        held[0] = pss_kib(system.pids)
        opened = 0
        for count in dict.fromkeys(min(count, most()) for count in COUNTS[1:]):
            while opened < count:
                # In pieces: a proxy with a short queue of connections would lose some of them.
                more = min(_PIECE, count - opened)
                stack.enter_context(_load(system, sseload, more))
                opened += more
                _wait(backend, opened.__le__)
            time.sleep(_SETTLING_S)
            memory = pss_kib(system.pids)
            _wait(backend, count.__eq__)
            held[count] = memory


@contextmanager
def _load(system: System, sseload: Path, count: int) -> Iterator[None]:
    """Open so many streams, and keep them open during the block."""
    core = cores()[1]
    command = [str(sseload), "-p", str(system.port), "-c", str(count), "-s", "-m", _SILENT]
    command += ["-d", "600", *(["-a", system.token] if system.token else [])]
    load = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, core)
    )
    try:
        yield
    finally:
        load.terminate()
        load.wait()


def _wait(backend: int, reached: Callable[[int], bool]) -> None:
    """Wait for the number of streams at the backend. Raise WrongAnswer."""
    deadline = time.monotonic() + _OPENING_S
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{backend}/stats") as said:
            active = json.load(said)["active"]
        if reached(active):
            return
        if time.monotonic() > deadline:
            raise WrongAnswer(f"{active} streams are open after {_OPENING_S:.0f} s")
        time.sleep(0.05)
