"""Store of the admin process, for sessions and the audit log: the one that `store.url` names."""

from __future__ import annotations

from gateway.store.location import Location
from gateway.store.records import Records, StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers


class OperatorStore:
    """Records of the admin process. They are opened when they are first used."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._records: Records | None = None
        self._former: list[Records] = []

    def records(self) -> Records:
        """Return the records. Raise StoreUnavailable if they cannot be opened."""
        if self._records is None:
            try:
                self._records = makers(self._location).open_records(self._location)
            except UNUSABLE as exc:
                raise StoreUnavailable(str(exc)) from exc
        return self._records

    def change(self, location: Location) -> None:
        """Use another store. What is in the former one is not moved."""
        if location == self._location:
            return
        self._location = location
        if self._records is not None:
            self._former.append(self._records)  # a request may still use it
            self._records = None

    async def close(self) -> None:
        """Close the records."""
        for one in (*self._former, self._records):
            if one is not None:
                await one.close()
