"""Construction of the stores from the `store` section: one for limits, and one for records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

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
    with OpeningStore(faults):
        store = makers(location)
        limits, records = store.open_limits(location), store.open_records(location)
        local = limits if isinstance(limits, MemoryLimits) else MemoryLimits()
        return Stores(GuardedStore(limits, local=local, report=report), records)
    return None


class OpeningStore:
    """Context in which a store is opened. If that fails, the reason is added to `faults`, and the
    code after the block runs.
    """

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, UNUSABLE):
            return False
        self._faults.append((("store", "url"), f"cannot be used: {why(error)}"))
        return True
