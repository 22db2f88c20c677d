"""Delay of an event while the gateway is reloaded, its metrics are scraped, its dashboard is open.

200 streams of 50 events/s pass through the whole chain. The disturbances take turns with runs in
which nothing else happens.
"""

from __future__ import annotations

import statistics
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.cost import check_peer
from benchmarks.peers import PEERS
from benchmarks.processes import cores, free_ports, running
from benchmarks.progress import Progress
from benchmarks.systems import System, start
from benchmarks.workloads import WORKLOADS

QUIET = "nothing else"
_TURNS = 8
_LOAD = WORKLOADS["paced"]
_SECONDS = 2.5
_TOPICS = "now,workers,upstreams,limits,requests,config,kept"

P99 = Mapping[str, list[float]]
"""p99 of the delay of an event in µs, for each turn, by what happens meanwhile."""


def measure(tools: tuple[Path, Path], folder: Path) -> P99:
    """Return the delays. Raise CannotRun or WrongAnswer."""
    mockllm, sseload = tools
    (backend,) = free_ports(1)
    found: dict[str, list[float]] = {name: [] for name in _DISTURBANCES}
    peer = PEERS["gateway-whole"]
    with ExitStack() as stack:
        command, log = [str(mockllm), str(backend)], folder / "backend.log"
        stack.enter_context(running(command, backend, core=cores()[1], log=log))
        system = start(peer, backend, folder, stack)
        check_peer(peer, system, backend)
        _LOAD.warm(sseload, system.port, system.token, _SECONDS)
        progress = Progress(1.2 * _SECONDS for _ in range(_TURNS * len(found)))
        for turn in range(_TURNS):
            names = list(_DISTURBANCES)
            for name in names if turn % 2 else reversed(names):
                progress.begin(f"disturbances: {name}")
                with _DISTURBANCES[name](system):
                    run = _LOAD.run(sseload, system.port, system.token, _SECONDS)
                found[name].append(run.time_us("relay", "p99") or 0.0)
    return found


def ratio(found: P99, name: str) -> float:
    """Return the median p99 with a disturbance as a multiple of that without one."""
    return statistics.median(found[name]) / statistics.median(found[QUIET])


def render(found: P99) -> str:
    """Return the medians as a table."""
    lines = ["| meanwhile | relay p99, µs | multiple |", "|---|--:|--:|"]
    for name, p99s in found.items():
        lines.append(f"| {name} | {statistics.median(p99s):.0f} | {ratio(found, name):.2f} |")
    return "\n".join(lines)


@contextmanager
def _nothing(_: System) -> Iterator[None]:
    yield


def _every(
    seconds: float, act: Callable[[System], object]
) -> Callable[[System], AbstractContextManager[None]]:
    @contextmanager
    def disturb(system: System) -> Iterator[None]:
        over = threading.Event()

        def work() -> None:
            while not over.wait(seconds):
                act(system)

        with _thread(work, over):
            yield

    return disturb


@contextmanager
def _thread(work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    """Run `work` in a thread. It ends when `over` is set, at the end of the block."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _scrape(system: System) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{system.admin}/metrics") as said:
        said.read()


def _reload(system: System) -> None:
    url = f"http://127.0.0.1:{system.admin}/api/reload"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST")) as said:
        said.read()


@contextmanager
def _dashboard(system: System) -> Iterator[None]:
    """Read the stream of events that an open page of the dashboard reads."""
    url = f"http://127.0.0.1:{system.admin}/api/events?topics={_TOPICS}"
    over = threading.Event()
    with urllib.request.urlopen(url, timeout=5) as events:

        def work() -> None:
            with suppress(OSError, ValueError):
                while not over.is_set():
                    events.readline()

        with _thread(work, over):
            yield


_DISTURBANCES: Mapping[str, Callable[[System], AbstractContextManager[None]]] = {
    QUIET: _nothing,
    "a reload each 2 s": _every(2.0, _reload),
    "a scrape each second": _every(1.0, _scrape),
    "an open dashboard": _dashboard,
}
NAMES = tuple(name for name in _DISTURBANCES if name != QUIET)
"""What happens meanwhile."""
