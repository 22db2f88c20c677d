"""Construction of the stores from the `store` section: one for limits, and one for records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from gateway.config.problems import Fault
from gateway.limiting.guard import GuardedStore
from gateway.store.location import locate
from gateway.store.records import Records
from gateway.store.sqlite_file import why
from gateway.stores.makers import UNUSABLE, makers
from gateway.stores.memory.limits import MemoryLimits


@dataclass(frozen=True, slots=True)
class Stores:
    """Open stores for limits and records."""

    limits: GuardedStore
    records: Records

    async def close(self) -> None:
        """Close both stores."""
        await self.limits.close()
        await self.records.close()


def stores(
    config: Config,
    folder: Path | None,
    report: Callable[[str, str], None],
    faults: list[Fault],
) -> Stores | None:
    """Open the stores. Return None if they cannot be opened; the reason is added to `faults`.
    `report` is called when the state of the store's circuit breaker changes.

    With several workers, which share a `folder`, `memory://` means an SQLite file in that folder.
    """
    location = config.store.location
    if folder is not None and not location.is_shared:
        location = locate(f"sqlite://{folder / 'store.db'}")
    try:
        store = makers(location)
        limits, records = store.open_limits(location), store.open_records(location)
    except UNUSABLE as exc:
        faults.append(store_fault(exc))
        return None
    local = limits if isinstance(limits, MemoryLimits) else MemoryLimits()
    return Stores(GuardedStore(limits, local=local, report=report), records)


def store_fault(exc: Exception) -> Fault:
    """Return the fault of a store that cannot be opened."""
    return ("store", "url"), f"cannot be used: {why(exc)}"
