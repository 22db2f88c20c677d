"""Makers of the memory store; see `gateway.stores.makers`."""

from __future__ import annotations

from collections.abc import Callable

from gateway.response_cache.store import AnswerStore
from gateway.store.location import Location
from gateway.stores.memory.answers import MemoryAnswers
from gateway.stores.memory.limits import MemoryLimits
from gateway.stores.memory.records import MemoryRecords


def open_limits(location: Location) -> MemoryLimits:
    return MemoryLimits()


def open_records(location: Location) -> MemoryRecords:
    return MemoryRecords()


def open_sharing(location: Location, report: Callable[[str, str], None]) -> None:
    """Return None: the workers of one machine share streams without a store."""


def open_channels(location: Location, report: Callable[[str, str], None]) -> None:
    """Return None: the workers of one machine share channels without a store."""


def open_answers(location: Location, cap_bytes: int) -> AnswerStore:
    return MemoryAnswers(cap_bytes)
