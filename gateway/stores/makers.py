"""Find the makers of a store by the kind of its URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from gateway.store.location import EXPECTED, Location

if TYPE_CHECKING:  # commands need one kind of store, and start sooner without the others
    from gateway.channels.link import ChannelLink
    from gateway.limiting.store import Store
    from gateway.response_cache.store import AnswerStore
    from gateway.resume.sharing import Sharing
    from gateway.store.records import Records

Report = Callable[[str, str], None]
UNUSABLE = (OSError, sqlite3.Error, ValueError)
"""Errors that mean that a store cannot be opened."""


class Makers(Protocol):
    """Interface of the module `makers` of each store's package. Each raises one of UNUSABLE."""

    def open_limits(self, location: Location) -> Store:
        """Open the store for limits."""

    def open_records(self, location: Location) -> Records:
        """Open the store for records."""

    def open_sharing(self, location: Location, report: Report) -> Sharing | None:
        """Open the store for streams. Return None if this kind of store does not keep streams.

        `report` is called with `lost` and the reason, or with `back`, when the store fails or works
        again.
        """

    def open_channels(self, location: Location, report: Report) -> ChannelLink | None:
        """Open the store for channels. Return None if this kind of store does not keep channels.
        `report` is as for `open_sharing`.
        """

    def open_answers(self, location: Location, cap_bytes: int) -> AnswerStore:
        """Open the store for answers of the response cache, `cap_bytes` at most."""


def makers(location: Location) -> Makers:
    """Return the makers of a store. Raise ValueError if the URL is not that of a store.

    A store is imported only if it is used, since importing redis-py takes 0.1 s.
    """
    if location.kind is None:
        raise ValueError(EXPECTED)
    return cast(Makers, import_module(f"gateway.stores.{location.kind.name}.makers"))
