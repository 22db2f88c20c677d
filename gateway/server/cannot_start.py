"""Error of a process that cannot serve."""

from __future__ import annotations


class CannotStart(Exception):
    """The process cannot serve. The text says why, and what to do."""
