"""Processes of the machine."""

from __future__ import annotations

from pathlib import Path


def children_of(pid: int) -> set[int]:
    """Return the processes that a process has started. Empty if it has ended."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {int(one) for one in found.split()}
