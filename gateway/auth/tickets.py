"""Tickets: short-lived, single-use credentials for clients that can set no header.

A browser's WebSocket and EventSource send no Authorization. Their page asks for a ticket, with its
own credential, and puts it into the query: `?ticket=tk-...`. The store holds who it speaks for
under a digest of it, and gives it out once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from gateway.auth.principal import Principal
from gateway.auth.provider import Provider, Rejected
from gateway.errors import AuthUnavailable
from gateway.store.records import Records, StoreUnavailable

PARAMETER = "ticket"
"""The query parameter that carries one."""
_KIND = "ticket"
_TICKET = re.compile(r"tk-[A-Za-z0-9_-]{43}")
_SECRET_BYTES = 32


class TicketProvider:
    """Issues tickets, and accepts each once."""

    header: str | None = None
    sent_headers: frozenset[bytes] = frozenset()

    def __init__(
        self, name: str, records: Records, providers: Mapping[str, Provider], *, ttl_s: float
    ) -> None:
        """`providers` are those that vouch for whoever asks for a ticket, by name."""
        self.name = name
        self.ttl_s = ttl_s
        self._records = records
        self._providers = providers

    async def issue(self, principal: Principal) -> str:
        """A ticket that speaks for a principal. Raise AuthUnavailable without the store."""
        ticket = "tk-" + secrets.token_urlsafe(_SECRET_BYTES)
        try:
            await self._records.put(_KIND, _digest(ticket), _dump(principal), self.ttl_s)
        except StoreUnavailable as exc:
            raise AuthUnavailable(f"no ticket can be kept: {exc}") from exc
        return ticket

    async def verify(self, credential: str) -> Principal:
        if not _TICKET.fullmatch(credential):
            raise Rejected("not a ticket", "The ticket is malformed")
        try:
            value = await self._records.take(_KIND, _digest(credential))
        except StoreUnavailable as exc:
            raise AuthUnavailable(f"no ticket can be looked up: {exc}") from exc
        if value is None:
            raise Rejected("unknown, expired or used", "The ticket is unknown, expired or used")
        principal = _load(value)
        if not self.stands(principal):
            raise Rejected(
                "who it speaks for is not accepted any more",
                "The credential behind the ticket is not valid any more",
            )
        return principal

    def stands(self, principal: Principal) -> bool:
        voucher = self._providers.get(principal.provider)
        return voucher is not None and voucher.stands(principal)

    def not_ready(self) -> str | None:
        return None

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


def _dump(principal: Principal) -> bytes:
    fields = {field.name: getattr(principal, field.name) for field in dataclasses.fields(Principal)}
    fields["headers"] = principal.headers.decode("latin-1")
    # Not orjson: a claim may hold a number of more than 64 bits.
    return json.dumps(fields, default=list).encode()


def _load(value: bytes) -> Principal:
    fields: dict[str, Any] = json.loads(value)
    models = fields.pop("models")
    return Principal(
        **{
            **fields,
            "groups": tuple(fields["groups"]),
            "scopes": frozenset(fields["scopes"]),
            "models": None if models is None else frozenset(models),
            "limits": tuple(fields["limits"]),
            "headers": fields["headers"].encode("latin-1"),
        }
    )
