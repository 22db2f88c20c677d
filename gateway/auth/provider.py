"""What every identity provider has in common: a credential goes in, a principal comes out."""

from __future__ import annotations

from typing import Protocol

from gateway.auth.principal import Principal


class Rejected(Exception):
    """The credential is not acceptable.

    The text is for the log. It may name claims that were expected and found, never the credential.
    """

    def __init__(self, reason: str, told: str | None = None, *, is_ours: bool = True) -> None:
        """`told` is the `error_description` for the caller (RFC 6750 section 3): one sentence
        without its full stop. None: the credential is of another kind than this provider's.
        `is_ours`: this provider is the one that would have accepted it.
        """
        super().__init__(reason)
        self.told = told
        self.is_ours = is_ours and told is not None


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
