"""Location of a store: the URL in `store.url`, parsed. Only this module tests the URL's scheme."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store. The package `gateway.stores.NAME` implements it."""

    name: str
    schemes: str
    """Pattern of the URL's schemes."""
    rest: str
    """Pattern of what follows `://` in the configuration file."""
    is_shared: bool = True
    """False if each process has a store of its own."""
    is_file: bool = False


KINDS = (
    StoreKind("memory", r"memory", "", is_shared=False),
    StoreKind("sqlite", r"sqlite", r"/.+", is_file=True),
    StoreKind("redis", r"rediss?(?:\+sentinel|\+cluster)?", r".+"),
)
PATTERN = "|".join(f"{kind.schemes}://{kind.rest}" for kind in KINDS)
"""Pattern of a store's URL in the configuration file."""
EXPECTED = "not a store: write memory://, sqlite:///PATH, or the URL of a Redis"
"""Message about a URL that does not match."""


@dataclass(frozen=True, slots=True)
class Location:
    """Kind and place of a store."""

    kind: StoreKind | None
    """Kind of the store; None for a secret URL that is not valid."""
    url: str
    """The whole URL, with the password if it has one."""

    @property
    def is_shared(self) -> bool:
        """True if other processes can use the same store."""
        return self.kind is None or self.kind.is_shared

    @property
    def path(self) -> Path | None:
        """Path of the store's file, or None if the store is not a file."""
        is_file = self.kind is not None and self.kind.is_file
        return Path(self.url.partition("://")[2]) if is_file else None

    @property
    def shown(self) -> str:
        """The URL without credentials, neither before the host nor in the query."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


UNREAD = Location(None, "")
"""Location of a store whose URL is a secret that is not read."""


def locate(url: str) -> Location:
    """Parse the URL of a store."""
    scheme = url.partition("://")[0]
    kinds = (kind for kind in KINDS if re.fullmatch(kind.schemes, scheme))
    return Location(next(kinds, None), url)
