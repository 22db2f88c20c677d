"""Memory of streams that are open and send nothing, for each peer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.answers import WrongAnswer, check
from benchmarks.peers import Peer
from benchmarks.processes import CannotRun, cores, free_ports, running
from benchmarks.processor import pss_kib
from benchmarks.systems import System, start

COUNTS = (0, 500, 1000, 2000, 4000)
_OPENING_S = 60.0
_SETTLING_S = 1.0
"""Time after which every first event has been passed on."""
_SILENT = "mock-3-600000000"
"""One event, and the next after ten minutes."""


def measure(
    peers: Sequence[Peer], tools: tuple[Path, Path], folder: Path
) -> dict[str, dict[int, int]]:
    """Return the proportional set size of each peer in KiB, by the number of open streams. A peer
    that is not installed or answers differently is left out.
    """
    mockllm, sseload = tools
    (backend,) = free_ports(1)
    found: dict[str, dict[int, int]] = {}
    command = [str(mockllm), str(backend)]
    with running(command, backend, core=cores()[1], log=folder / "backend.log"):
        for peer in peers:
            print(f"open streams: {peer.name}", file=sys.stderr, flush=True)
            try:
                found[peer.name] = {
                    count: _started(peer, backend, folder, sseload, count) for count in COUNTS
                }
            except (CannotRun, WrongAnswer) as exc:
                print(f"left out: {str(exc)[:300]}", file=sys.stderr, flush=True)
    return found


def _started(peer: Peer, backend: int, folder: Path, sseload: Path, count: int) -> int:
    """Return the memory of a peer that has just been started, and holds so many streams."""
    own = folder / "streams"
    own.mkdir(exist_ok=True)
    own.chmod(0o711)
    with ExitStack() as stack:
        system = start(peer, backend, own, stack)
        check(system.port, backend, system.token, rewritten=peer.rewrites)
        held = _held(system, backend, sseload, count)
    _wait(backend, lambda active: active == 0)
    return held


def _held(system: System, backend: int, sseload: Path, count: int) -> int:
    """Return the memory of a peer that holds so many streams. Raise WrongAnswer."""
    if not count:
        return pss_kib(system.pids)
    core = cores()[1]
    command = [str(sseload), "-p", str(system.port), "-c", str(count), "-s", "-m", _SILENT]
    command += ["-d", str(2 * _OPENING_S), *(["-a", system.token] if system.token else [])]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, core)
    ) as load:
        try:
            _wait(backend, lambda active: active >= count)
            time.sleep(_SETTLING_S)
            held = pss_kib(system.pids)
            _wait(backend, lambda active: active == count)
        finally:
            load.terminate()
    return held


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
