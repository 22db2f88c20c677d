"""Common parts of the handlers of keys, teams and users: pages, versions, errors of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from gateway.admin.bad_input import BadInput
from gateway.admin.operation import Parameter
from gateway.admin.record_version import ABSENT, version_of
from gateway.auth.key_file import BadKeyFile
from gateway.config import Config
from gateway.store.records import Records, StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers
from gateway.telemetry.traces.reader import TraceReader

PAGE = 1000
LIMIT = Parameter("limit", "Most entries of a page; default: 1000.", {"type": "integer"})
VERSION = Parameter(
    "version",
    "Version of the record that the change is made from. If it has changed since, the answer is "
    "409. `none`: there must be no record. Default: the record is changed in any case.",
)
CHANGED = "The record has changed since `version`."


@dataclass(frozen=True, slots=True)
class RecordHandlers:
    """Base of the handlers of keys, teams and users."""

    config: Callable[[], Config]
    """Returns the configuration that is served."""
    reader: TraceReader | None = None
    """Reader of the local store, for usage; None if there is none."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def limit_of(request: web.Request, default: int = PAGE) -> int:
    """Return the number of entries that a request asks for. Raise BadInput."""
    limit = request.query.get("limit", str(default))
    if not (limit.isascii() and limit.isdecimal()) or not 0 < int(limit) <= PAGE:
        raise BadInput(f"limit: send a number from 1 to {PAGE}")
    return int(limit)


def check_version(request: web.Request, record: bytes | None) -> None:
    """Raise HTTPConflict if a request is based on another version of a record."""
    if request.query.get("version") not in (None, version_of(record)):
        reason = "it was changed meanwhile: read it again, and repeat your change"
        if request.query["version"] == ABSENT:
            reason = "there is one of this name already"
        raise web.HTTPConflict(reason=reason)


@contextmanager
def storage() -> Iterator[None]:
    """Turn failures of the file or the store into HTTPServiceUnavailable."""
    try:
        yield
    except (BadKeyFile, StoreUnavailable, sqlite3.Error, *UNUSABLE) as exc:
        why = " ".join(str(exc).split())
        reason = f"the keys cannot be read or written: {why}"
        raise web.HTTPServiceUnavailable(reason=reason) from exc


def opened_records(config: Config) -> Records:
    """Open the records of the configuration's store."""
    return makers(config.store.location).open_records(config.store.location)
