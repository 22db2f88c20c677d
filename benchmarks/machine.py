"""Where a run takes place, and how much of the machine others used meanwhile."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_USER, _NICE, _SYSTEM = 1, 2, 3
"""Columns of /proc/stat. Interrupts are left out: they belong to nobody, load or not."""


def description() -> str:
    """CPU, cores, kernel, Python."""
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
    """CPU time that neither this program nor what it started has used, since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._others_s = _busy_s() - _ours_s()

    def percent_of_a_core(self) -> float:
        """100 is one core all the time. Programs still running count as others."""
        elapsed_s = time.monotonic() - self._started
        return max(0.0, 100 * (_busy_s() - _ours_s() - self._others_s) / elapsed_s)


def _busy_s() -> float:
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    return sum(int(fields[at]) for at in (_USER, _NICE, _SYSTEM)) / os.sysconf("SC_CLK_TCK")


def _ours_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
