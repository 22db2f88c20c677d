"""Makers of the SQLite store; see `gateway.stores.makers`."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from gateway.limiting.advances import Advances
from gateway.response_cache.store import AnswerStore
from gateway.store.location import Location
from gateway.stores.memory.answers import MemoryAnswers
from gateway.stores.sqlite.limits import SqliteLimits
from gateway.stores.sqlite.records import SqliteRecords


def open_limits(location: Location) -> Advances:
    return Advances(SqliteLimits(_path(location)))


def open_records(location: Location) -> SqliteRecords:
    return SqliteRecords(_path(location))


def open_sharing(location: Location, report: Callable[[str, str], None]) -> None:
    """Return None: the workers of one machine share streams without a store."""


def open_channels(location: Location, report: Callable[[str, str], None]) -> None:
    """Return None: the workers of one machine share channels without a store."""


def open_answers(location: Location, cap_bytes: int) -> AnswerStore:
    """Return a store in memory: answers are no state that has to outlive a process."""
    return MemoryAnswers(cap_bytes)


def _path(location: Location) -> Path:
    """Return the file. Raise FileNotFoundError if its folder is missing: a mistyped path would
    otherwise begin with an empty store, without keys and with full budgets.
    """
    assert location.path is not None
    folder = location.path.parent
    if not folder.is_dir():
        why = "there is no such folder: make it, or correct store.url"
        raise FileNotFoundError(errno.ENOENT, why, str(folder))
    return location.path
