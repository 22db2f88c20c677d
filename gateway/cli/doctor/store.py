"""Check of the shared store: that it answers, and how fast."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from gateway.cli.doctor.finding import Finding, failed, ok, warning
from gateway.config import Config
from gateway.store.records import StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers

_SLOW_S = 0.025
"""Half of the time after which limits proceed without the store."""
_KIND = "doctor"


async def store(config: Config) -> AsyncIterator[Finding]:
    """Check that the store returns what was put, and how fast. A store in memory is not checked."""
    location = config.store.location
    if not location.is_shared:
        return
    subject = f"store.url {location.shown}"
    remedy = "start it, or correct store.url; limits go by their `on_store_error` meanwhile"
    try:
        records = makers(location).open_records(location)
    except UNUSABLE as exc:
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
