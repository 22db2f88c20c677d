"""What every identity provider has in common: a credential goes in, a principal comes out."""

from __future__ import annotations

from typing import Protocol

from gateway.auth.principal import Principal


class Rejected(Exception):
    """The credential is not acceptable. The text is for the log and holds nothing of it."""


class Provider(Protocol):
    """Verifies one kind of credential."""

    name: str
    header: str | None
    """A header of its own that carries the credential, beside Authorization and x-api-key."""
    sent_headers: frozenset[bytes]
    """Lower-cased names of the headers its principals bring to the upstream."""

    async def verify(self, credential: str) -> Principal:
        """The principal a credential speaks for. Raise Rejected, or AuthUnavailable where that
        cannot be told now.
        """

    def stands(self, principal: Principal) -> bool:
        """Whether one that this provider vouched for would be accepted still."""

    def not_ready(self) -> str | None:
        """Why it cannot verify anything yet, or None."""

    def start(self) -> None:
        """Begin what goes on beside requests; there is an event loop now."""

    def close(self) -> None:
        """End what `start` began."""
