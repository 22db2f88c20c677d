"""CPU time of the processes that serve, in ns precision, and which these are."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from benchmarks.processes import CannotRun

_PATIENCE_S = 15.0


def cpu_us(pids: list[int]) -> float:
    """Return the CPU time of all threads of the processes, in µs, user and system."""
    spent = 0
    for pid in pids:
        with suppress(OSError):  # a process or a thread may end meanwhile
            for thread in os.listdir(f"/proc/{pid}/task"):
                spent += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    return spent / 1e3


def family_of(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in family_of(int(child)))]


def pss_kib(pids: list[int]) -> int:
    """Return the proportional set size of the processes in KiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def worker_of(admin: int, elsewhere: set[int]) -> int:
    """Return the pid of a gateway's only worker, as `workers_of` does."""
    (worker,) = workers_of(admin, elsewhere, 1)
    return worker


def workers_of(admin: int, elsewhere: set[int], count: int) -> list[int]:
    """Return the pids of a gateway's workers. `admin` is the port of its admin listener. Raise
    CannotRun.

    Move the other child processes to the cores `elsewhere`: the admin process's work on records
    must not disturb the workers.
    """
    deadline = time.monotonic() + _PATIENCE_S
    workers: list[int] = []
    while len(workers) < count:
        if time.monotonic() > deadline:
            raise CannotRun(f"{len(workers)} workers answer the admin listener on port {admin}")
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/workers") as said,
        ):
            workers = [row["pid"] for row in json.load(said)["workers"] if row["pid"]]
        time.sleep(0.1)
    master = parent_of(workers[0])
    for child in Path(f"/proc/{master}/task/{master}/children").read_text().split():
        if int(child) not in workers:
            for thread in os.listdir(f"/proc/{child}/task"):
                os.sched_setaffinity(int(thread), elsewhere)
    return workers


def parent_of(pid: int) -> int:
    """Return the pid of the process that started another: of a worker, the gateway's master."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
