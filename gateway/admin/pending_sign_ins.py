"""Sign-ins that wait for their browser to come back from the issuer, in the store.

Each is bound to the browser that began it, by a cookie, and can be finished once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from gateway.auth.oidc.client import PendingSignIn
from gateway.store.records import Records

KIND = "sign_in"
PENDING_S = 600.0
"""Time that a person has at the issuer."""
_RANDOM_BYTES = 32
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_RETURN_CAP = 2000


@dataclass(frozen=True, slots=True)
class BegunSignIn:
    """Sign-in that was begun here."""

    pending: PendingSignIn
    base: str
    """Public URL of the listener, without a slash at its end."""
    return_to: str
    """Path of the page to show then."""
    source: str
    """Issuer and client for which it was begun."""


class PendingSignIns:
    """Sign-ins of all browsers."""

    def __init__(self, records: Callable[[], Records]) -> None:
        """`records` returns the store, or raises StoreUnavailable."""
        self._records = records

    async def begin(
        self, browser: str, base: str, redirect_uri: str, return_to: str, source: str
    ) -> PendingSignIn:
        """Begin a sign-in of a browser. Raise StoreUnavailable."""
        state, nonce, verifier = (secrets.token_urlsafe(_RANDOM_BYTES) for _ in range(3))
        document = {
            "browser": _digest(browser),
            "nonce": nonce,
            "verifier": verifier,
            "redirect_uri": redirect_uri,
            "base": base,
            "return_to": return_to,
            "source": source,
        }
        await self._records().put(KIND, _digest(state), orjson.dumps(document), PENDING_S)
        return PendingSignIn(state, nonce, verifier, redirect_uri)

    async def finish(self, browser: str | None, state: str) -> BegunSignIn | None:
        """Return a sign-in, and forget it; None if this browser has no unfinished sign-in with this
        state. Raise StoreUnavailable.
        """
        if browser is None:
            return None
        key, records = _digest(state), self._records()
        value = await records.get(KIND, key)
        if value is None or not _is_of(value, browser):
            return None  # left for the browser that it belongs to
        value = await records.take(KIND, key)
        if value is None:
            return None
        one = orjson.loads(value)
        pending = PendingSignIn(state, one["nonce"], one["verifier"], one["redirect_uri"])
        return BegunSignIn(pending, one["base"], one["return_to"], one["source"])


def new_browser() -> str:
    """Return a value for the cookie that distinguishes a browser."""
    return secrets.token_urlsafe(_RANDOM_BYTES)


def is_browser(text: str | None) -> bool:
    """Tell whether a cookie has the form of `new_browser`."""
    return text is not None and _BROWSER.fullmatch(text) is not None


def own_path(text: str) -> str:
    """Return the text if it is the path of a page of this listener, otherwise the path of the first
    page.
    """
    is_plain = text.isascii() and text.isprintable() and "\\" not in text and " " not in text
    if not is_plain or len(text) > _RETURN_CAP or not re.match(r"/(?!/)", text):
        return "/"
    parts = urlsplit(text)
    if parts.scheme or parts.netloc or re.match(r"/(?:api|sign-in|static|play/)", text):
        return "/"
    return text


def _is_of(value: bytes, browser: str) -> bool:
    return hmac.compare_digest(str(orjson.loads(value)["browser"]), _digest(browser))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
