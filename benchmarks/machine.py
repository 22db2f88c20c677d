"""Description of the machine, and the CPU time that other programs used during a run."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_USER, _NICE, _SYSTEM = 1, 2, 3
"""Columns of /proc/stat. Interrupts are omitted, since they cannot be attributed to a program."""


def description() -> str:
    """Return CPU, number of cores, kernel and Python version as text."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return (
        f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores; "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}"
    )


class OtherWork:
    """CPU time of programs other than this one and its children, since the object was created."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._others_s = _busy_s() - _ours_s()

    def percent_of_a_core(self) -> float:
        """Return the share of other work in percent; 100 is one core all the time. Children that
        still run count as other programs.
        """
        elapsed_s = time.monotonic() - self._started
        return max(0.0, 100 * (_busy_s() - _ours_s() - self._others_s) / elapsed_s)


def _busy_s() -> float:
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    return sum(int(fields[at]) for at in (_USER, _NICE, _SYSTEM)) / os.sysconf("SC_CLK_TCK")


def _ours_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
