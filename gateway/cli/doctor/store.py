"""Check of the shared store: that it answers, and how fast."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator

from limits.errors import ConfigurationError

from gateway.cli.doctor.finding import Finding, failed, ok, warning
from gateway.config import Config
from gateway.store.records import StoreUnavailable
from gateway.wiring.store import open_records, store_parts

_SLOW_S = 0.025
"""Half of the time after which limits proceed without the store."""
_KIND = "doctor"


async def store(config: Config) -> AsyncIterator[Finding]:
    """Check that the store returns what was put, and how fast. A store in memory is not checked."""
    scheme, url, _ = store_parts(config.store)
    if scheme == "memory":
        return
    # Show no password, which may be before the host or in the query.
    shown = url.partition("://")[2].partition("?")[0].rpartition("@")[2]
    subject = f"store.url {scheme}://{shown}"
    remedy = "start it, or correct store.url; limits go by their `on_store_error` meanwhile"
    try:
        records = open_records(config.store)
    except (OSError, sqlite3.Error, ConfigurationError, ValueError) as exc:
        yield failed(subject, f"cannot be used: {exc}", remedy)
        return
    try:
        await records.put(_KIND, "probe", b"1", 1.0)
        begun = time.perf_counter()
        await records.put(_KIND, "probe", b"2", 1.0)
        took_s = time.perf_counter() - begun
        if await records.take(_KIND, "probe") != b"2":
            yield failed(subject, "does not return what was put", "is it a replica, or shared?")
        elif took_s > _SLOW_S:
            yield warning(
                subject,
                f"answers after {took_s * 1e3:.0f} ms",
                "limits wait for it on every request: put it nearer",
            )
        else:
            yield ok(subject, f"answers after {took_s * 1e3:.1f} ms")
    except StoreUnavailable as exc:
        yield failed(subject, f"does not answer: {exc}", remedy)
    finally:
        await records.close()
