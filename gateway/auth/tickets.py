"""Tickets: short-lived, single-use credentials for clients that cannot set headers.

A browser's WebSocket and EventSource cannot send Authorization. Their page requests a ticket with
its own credential, and puts the ticket into the query: `?ticket=tk-...`. The store keeps the
principal under the ticket's digest, and returns it only once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from gateway.auth.allowance import Allowance, Grant, GrantLevel
from gateway.auth.principal import Principal
from gateway.auth.provider import Provider, Rejected
from gateway.errors import AuthUnavailable
from gateway.model_names import as_document, of_document
from gateway.store.records import Records, StoreUnavailable

PARAMETER = "ticket"
"""Query parameter that carries a ticket."""
_KIND = "ticket"
_TICKET = re.compile(r"tk-[A-Za-z0-9_-]{43}")
_SECRET_BYTES = 32


class TicketProvider:
    """Provider that issues tickets, and accepts each ticket once."""

    header: str | None = None
    sent_headers: frozenset[bytes] = frozenset()

    def __init__(
        self, name: str, records: Records, providers: Mapping[str, Provider], *, ttl_s: float
    ) -> None:
        """Create the provider. `providers` are the other providers, by name: they verify the
        callers that request a ticket.
        """
        self.name = name
        self.ttl_s = ttl_s
        self._records = records
        self._providers = providers

    async def issue(self, principal: Principal) -> str:
        """Return a new ticket for a principal. Raise AuthUnavailable if the store fails."""
        ticket = "tk-" + secrets.token_urlsafe(_SECRET_BYTES)
        try:
            await self._records.put(_KIND, _digest(ticket), _dump(principal), self.ttl_s)
        except StoreUnavailable as exc:
            raise AuthUnavailable(f"no ticket can be kept: {exc}") from exc
        return ticket

    def verify_now(self, credential: str) -> None:
        """Return None: the store has to be asked."""

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
        if not self.is_valid(principal):
            raise Rejected(
                "who it speaks for is not accepted any more",
                "The credential behind the ticket is not valid any more",
            )
        return principal

    def is_valid(self, principal: Principal) -> bool:
        provider = self._providers.get(principal.provider)
        return provider is not None and provider.is_valid(principal)

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
    fields["models"] = as_document(principal.models)
    fields["grants"] = [
        (grant.level, grant.holder, grant.allowance.record()) for grant in principal.grants
    ]
    # orjson cannot be used: a claim may contain an integer of more than 64 bits.
    return json.dumps(fields, default=list).encode()


def _load(value: bytes) -> Principal:
    fields: dict[str, Any] = json.loads(value)
    models, routes = fields["models"], fields.get("routes")
    return Principal(
        **{
            **fields,
            "groups": tuple(fields["groups"]),
            "scopes": frozenset(fields["scopes"]),
            "models": of_document(models),
            "routes": None if routes is None else frozenset(routes),
            "limits": tuple(fields["limits"]),
            "tags": tuple(fields.get("tags", ())),
            "grants": tuple(
                Grant(GrantLevel(level), holder, Allowance.model_validate(allowance))
                for level, holder, allowance in fields.get("grants", ())
            ),
            "headers": fields["headers"].encode("latin-1"),
        }
    )
