"""Failures of a sign-in: a sentence for the person, and a reason for the log."""

from __future__ import annotations

from gateway.admin.operator import Operator
from gateway.store.records import StoreUnavailable


class SignInFailed(Exception):
    """The sign-in fails. `title` and `text` are for the page, `reason` is for the log."""

    def __init__(
        self, status: int, title: str, text: str, reason: str, operator: Operator | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.title = title
        self.text = text
        self.reason = reason
        self.operator = operator
        """Person who signed in at the issuer, if that is known."""


def unexpected(reason: str) -> SignInFailed:
    """Return the failure for an answer that does not fit. `reason` is for the log."""
    text = "The answer of the identity provider is not the expected one."
    return SignInFailed(400, "Not signed in", text, reason)


def issuer_away(reason: str) -> SignInFailed:
    """Return the failure for an issuer that does not answer. `reason` is for the log."""
    text = (
        "The identity provider does not answer as it should. Try again later. Whoever is signed in "
        "stays so, and tokens work meanwhile. The log of the gateway has the reason."
    )
    return SignInFailed(502, "No identity provider", text, f"issuer: {reason}")


def store_away(exc: StoreUnavailable) -> SignInFailed:
    """Return the failure for a store that does not answer."""
    text = "The store of the gateway, which keeps sessions, does not answer. Tokens work meanwhile."
    return SignInFailed(503, "No store", text, f"store: {exc}")
