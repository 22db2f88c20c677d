"""Access to an admin listener in tests: tokens, sessions, and a store that fails on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http.cookies import SimpleCookie

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.admin.access import Access, AccessToken
from gateway.admin.auth import AdminAuth
from gateway.admin.roles import OperatorRole
from gateway.admin.sessions import OperatorSessions
from gateway.store.records import Records, StoreUnavailable
from gateway.stores.memory.records import MemoryRecords

TOKEN = b"canary7f3a"


class Clock:
    """Seconds, of a monotonic clock and of the day alike."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FailingStore:
    """Records in memory that do not answer while `away` is set."""

    def __init__(self, clock: Clock) -> None:
        self.away = False
        self.kept = MemoryRecords(clock)

    def records(self) -> Records:
        """Return the records. Raise StoreUnavailable."""
        if self.away:
            raise StoreUnavailable("away")
        return self.kept


def token_access(tokens: Mapping[bytes, tuple[str, OperatorRole]]) -> Access:
    """Return the access with these tokens, each with its name and role."""
    return Access(
        {
            hashlib.sha256(token).digest(): AccessToken(name, role, f"{name} {token!r}")
            for token, (name, role) in tokens.items()
        }
    )


def admin_auth(
    access: Access | None = None, clock: Clock | None = None, store: FailingStore | None = None
) -> AdminAuth:
    """Return the authentication of a listener; by default with `TOKEN` for an admin."""
    clock = clock or Clock()
    store = store or FailingStore(clock)
    return AdminAuth(
        token_access({TOKEN: ("admin", OperatorRole.ADMIN)}) if access is None else access,
        OperatorSessions(store.records, now=clock),
        now=clock,
        clock=clock,
    )


def asked(method: str = "GET", path: str = "/api/x", **headers: str) -> web.Request:
    """Return a request. Underscores in names of headers stand for hyphens."""
    given = {"Host": "admin.test:9090"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return make_mocked_request(method, path, headers=given)


def cookie_line(cookies: SimpleCookie) -> str:
    """Return cookies as a browser sends them."""
    return "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
