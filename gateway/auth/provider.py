"""Interface of identity providers: a provider turns a credential into a principal."""

from __future__ import annotations

from typing import Protocol

from gateway.auth.principal import Principal


class Rejected(Exception):
    """The credential is not accepted.

    The text is for the log. It may contain expected and found claims, but never the credential.
    """

    def __init__(
        self, reason: str, description: str | None = None, *, is_ours: bool = True
    ) -> None:
        """Create a rejection. `description` is the `error_description` for the caller (RFC 6750
        section 3): one sentence without a full stop; None if the credential is of a kind that this
        provider does not handle. `is_ours`: the credential is meant for this provider.
        """
        super().__init__(reason)
        self.description = description
        self.is_ours = is_ours and description is not None


class Provider(Protocol):
    """Identity provider that verifies one kind of credential."""

    name: str
    header: str | None
    """Additional header that may carry the credential, besides Authorization and x-api-key."""
    sent_headers: frozenset[bytes]
    """Lower-case names of the headers that describe its principals to the upstream."""

    def verify_now(self, credential: str) -> Principal | None:
        """Return the principal of a credential if that needs no waiting. Return None if it does,
        because keys have to be fetched or a store has to be asked: then await `verify`. Raise
        Rejected or AuthUnavailable as `verify` does. Needs a running event loop.
        """

    async def verify(self, credential: str) -> Principal:
        """Return the principal of a credential. Raise Rejected, or AuthUnavailable if the
        credential cannot be verified now.
        """

    def is_valid(self, principal: Principal) -> bool:
        """Tell whether the credential of a principal is still valid. The principal must be of this
        provider. Raise AuthUnavailable if that cannot be told now.
        """

    def not_ready(self) -> str | None:
        """Return why the provider cannot verify credentials yet, or None if it can."""

    def start(self) -> None:
        """Start background tasks. Needs a running event loop."""

    def close(self) -> None:
        """Stop the background tasks."""
