"""Authentication: the first provider that accepts the credential determines the principal."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from aiohttp.hdrs import AUTHORIZATION
from multidict import istr

from gateway.auth.certificate import CertificateProvider, PeerCertificate
from gateway.auth.jwt import JwtProvider
from gateway.auth.principal import Principal
from gateway.auth.provider import Provider, Rejected
from gateway.auth.tickets import PARAMETER, TicketProvider
from gateway.errors import CredentialExpired, Forbidden, GatewayError, Unauthenticated
from gateway.exchange import Exchange
from gateway.facts import DelegatedIdentity
from gateway.request import Request

_TRIED = 4
"""Maximum number of credentials in one request that are verified to report which are refused."""
_NOT_DESCRIPTIVE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
"""Characters not allowed in an `error_description` (RFC 6750 section 3)."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """Principal of a known head. It may use the route."""

    policy: Authenticate
    provider: JwtProvider
    principal: Principal
    epoch: object


class Authenticate:
    """Policy that requires a credential.

    The credential is a bearer token (RFC 6750). Clients of Anthropic's and Azure's APIs may send
    the token in `x-api-key` or `api-key`. A provider may define a header of its own. If the route
    accepts tickets, a ticket in the query is a credential, too. If it accepts client certificates,
    that of the connection is the credential of a request that has no other.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        scopes: Iterable[str] = (),
        *,
        ends_streams: bool = True,
    ) -> None:
        """`scopes` are those that a principal needs, all of them. `ends_streams`: a stream ends
        when its caller's credential expires.
        """
        self._ends_streams = ends_streams
        self._tickets = tuple(p for p in providers if isinstance(p, TicketProvider))
        self._certificates = tuple(p for p in providers if isinstance(p, CertificateProvider))
        elsewhere = (TicketProvider, CertificateProvider)
        self._providers = tuple(p for p in providers if not isinstance(p, elsewhere))
        self._scopes = frozenset(scopes)
        first = next(iter(self._providers), None)
        self._recalls = first if isinstance(first, JwtProvider) and not self._tickets else None
        """First provider, if it can accept a known head again without looking at its token."""
        self._vouching = {p.name: p for p in (*self._providers, *self._certificates)}
        self._required = None if self._providers else self._other_credentials()
        own = [provider.header for provider in providers if provider.header]
        self._headers = tuple(map(istr, dict.fromkeys(["X-Api-Key", "Api-Key", *own])))

    def _other_credentials(self) -> str:
        """Return the message for a request without a credential, on a route without headers."""
        kinds = []
        if self._certificates:
            kinds.append("a client certificate of the TLS connection")
        if self._tickets:
            kinds.append(f"a ticket in the query, ?{PARAMETER}=TICKET")
        return f"A valid credential is required: {', or '.join(kinds)}."

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Set the principal. Raise Unauthenticated, CredentialExpired, Forbidden or
        AuthUnavailable, with a reason for the log only.
        """
        exchange, known = request.exchange, request.known
        if known is not None and type(caller := known.caller) is _Caller and caller.policy is self:
            # The head has the same credential as before.
            principal = caller.principal
            if caller.provider.recall(principal, caller.epoch) and exchange.delegated is None:
                if exchange.trace is not None and exchange.trace.sampled:
                    exchange.trace.passed("auth")
                exchange.principal = principal
                if self._ends_streams:
                    exchange.expires_at = principal.expires_at
                return None
        try:
            return self._identify(request, exchange)
        except GatewayError:
            if exchange.trace is not None:
                exchange.trace.begin("auth")
            raise

    def _identify(self, request: Request, exchange: Exchange) -> Awaitable[None] | None:
        headers = request.headers
        bearers = headers.getall(AUTHORIZATION, ())
        keys: list[str] = []
        for name in self._headers:
            if name in headers:
                keys += headers.getall(name)
        tickets = _taken_from_query(exchange) if self._tickets else ()
        if exchange.delegated is not None:
            self._admit(exchange, self._delegated_principal(exchange.delegated))
            return None
        if len(bearers) + len(keys) + len(tickets) > 1:
            return self._wait(exchange, self._only_one(request, tickets))
        if tickets:
            return self._wait(exchange, self._by_ticket(tickets[0]))
        if keys:
            credential = keys[0].strip()
        elif bearers:
            credential = _token(bearers[0])
        elif self._certificates and request.client.certificate is not None:
            self._admit(exchange, self._by_certificate(request.client.certificate))
            return None
        else:
            raise Unauthenticated("Bearer", reason="no credential", message=self._required)
        principal = _accepted(self._providers, credential)
        if not isinstance(principal, Principal):
            return self._wait(exchange, principal)
        if exchange.trace is not None and exchange.trace.sampled:
            exchange.trace.passed("auth")
        self._admit(exchange, principal)
        provider, known = self._recalls, request.known
        if provider is not None and known is not None and principal.provider == provider.name:
            known.caller = _Caller(self, provider, principal, provider.epoch)
        return None

    async def _wait(self, exchange: Exchange, verification: Awaitable[Principal]) -> None:
        """Wait for a verification that needs the issuer or the store."""
        trace = exchange.trace
        mark = trace.begin("auth") if trace is not None else None
        self._admit(exchange, await verification)
        if mark is not None:
            mark.ended = time.perf_counter()

    def _by_certificate(self, certificate: PeerCertificate) -> Principal:
        """Return the principal of a client certificate. Raise Unauthenticated."""
        rejections: list[tuple[str, Rejected]] = []
        for provider in self._certificates:
            try:
                return provider.identify(certificate)
            except Rejected as exc:
                rejections.append((provider.name, exc))
        raise _rejected(rejections)

    async def _by_ticket(self, ticket: str) -> Principal:
        return self._listed(await _first_accepted(self._tickets, ticket))

    def _admit(self, exchange: Exchange, principal: Principal) -> None:
        """Set the principal. Raise Forbidden if it lacks a scope, or is for other routes."""
        exchange.principal = principal
        if (
            self._ends_streams and exchange.delegated is None
        ):  # a session enforces the expiry itself
            exchange.expires_at = principal.expires_at
        if principal.routes is not None and exchange.route not in principal.routes:
            raise Forbidden("the API key is for other routes")
        if self._scopes and not self._scopes <= principal.scopes:
            raise Forbidden(f"needs {' '.join(sorted(self._scopes - principal.scopes))}")

    async def _only_one(self, request: Request, tickets: Sequence[str]) -> Principal:
        """Return the principal of credentials that all have the same value. Raise Unauthenticated
        for different values; its message says which of them is invalid by itself.
        """
        headers = request.headers
        found = [
            (str(name), value.strip())
            for name in (AUTHORIZATION, *self._headers)
            for value in headers.getall(name, ())
        ]
        values = {_bare(name, value) for name, value in found}
        if len(values) == 1 and not tickets:
            return await _first_accepted(self._providers, values.pop())
        refused, reasons = [], ["more than one credential"]
        for name, value in found[:_TRIED]:
            try:
                await _first_accepted(
                    self._providers, _token(value) if name == AUTHORIZATION else value
                )
            except Unauthenticated as exc:
                refused.append(f"{name} is refused: {exc.message}")
                reasons.append(f"{name} refused by {exc.reason}")
        names = list(dict.fromkeys(name for name, _ in found))
        if tickets:
            names.append("the ticket in the query")
        raise Unauthenticated(
            'Bearer error="invalid_request", error_description="More than one credential"',
            reason="; ".join(reasons),
            message=" ".join(
                (f"There are several credentials: send one of {', '.join(names)}.", *refused)
            ),
        )

    def _listed(self, principal: Principal) -> Principal:
        """Return a ticket's principal if the route lists the provider that authenticated it, or
        accepts tickets only. Raise Unauthenticated.
        """
        if self._vouching and principal.provider not in self._vouching:
            description = "The ticket is of a provider that is not accepted here"
            raise _unauthenticated(description, f"the ticket is of provider {principal.provider}")
        return principal

    def _delegated_principal(self, delegated: DelegatedIdentity) -> Principal:
        """Return the principal of the session that makes this request, if one of this route's
        providers still considers it valid. Raise Unauthenticated or CredentialExpired.
        """
        principal = delegated.principal
        provider = None if principal is None else self._vouching.get(principal.provider)
        if principal is None or provider is None:
            raise Unauthenticated("Bearer", reason="the session is of a provider of another route")
        expired = principal.expires_at is not None and principal.expires_at <= time.time()
        if expired or not provider.is_valid(principal):
            raise CredentialExpired
        return principal


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Bearer", reason="Authorization holds no token of the scheme Bearer")
    return token.strip()


def _bare(name: str, value: str) -> str:
    """Return a credential without the `Bearer` prefix of its header."""
    scheme, _, token = value.partition(" ")
    return token.strip() if name == AUTHORIZATION and scheme.lower() == "bearer" else value


def _accepted(
    providers: Sequence[Provider], credential: str
) -> Principal | Coroutine[Any, Any, Principal]:
    """Return the principal by the first provider that accepts the credential; a coroutine for it
    from the first provider on that has to be waited for. Raise Unauthenticated or AuthUnavailable.
    """
    rejections: list[tuple[str, Rejected]] = []
    for number, provider in enumerate(providers):
        try:
            principal = provider.verify_now(credential)
        except Rejected as exc:
            rejections.append((provider.name, exc))
            continue
        if principal is None:
            return _first_accepted(providers[number:], credential, rejections)
        return principal
    raise _rejected(rejections)


async def _first_accepted(
    providers: Sequence[Provider],
    credential: str,
    rejected: Sequence[tuple[str, Rejected]] = (),
) -> Principal:
    """The same, awaited. `rejected` are the rejections by providers that were asked before."""
    rejections = [*rejected]
    for provider in providers:
        try:
            return await provider.verify(credential)
        except Rejected as exc:
            rejections.append((provider.name, exc))
    raise _rejected(rejections)


def _rejected(rejections: Sequence[tuple[str, Rejected]]) -> Unauthenticated:
    # Report the reason of the provider that the credential was meant for.
    of_use = max(
        (rejected for _, rejected in rejections),
        key=lambda rejected: (rejected.is_ours, rejected.description is not None),
        default=None,
    )
    description = (
        of_use and of_use.description
    ) or "The credential is not of a kind that is accepted here"
    return _unauthenticated(description, "; ".join(f"{name}: {exc}" for name, exc in rejections))


def _unauthenticated(description: str, reason: str) -> Unauthenticated:
    """Return an Unauthenticated error with a challenge (RFC 6750 section 3) and a message in plain
    words.
    """
    description = _NOT_DESCRIPTIVE.sub("", description)
    return Unauthenticated(
        f'Bearer error="invalid_token", error_description="{description}"',
        reason=reason,
        message=f"{description}.",
    )


def _taken_from_query(exchange: Exchange) -> list[str]:
    """Remove the tickets from the query and return them, so that no later handler sees them."""
    if PARAMETER not in exchange.query:
        return []
    tickets, others = [], []
    for field in exchange.query.split("&"):
        name, _, value = field.partition("=")
        if name == PARAMETER:
            tickets.append(value)
        else:
            others.append(field)
    exchange.query = "&".join(others)
    return tickets


class IssueTicket:
    """Last handler of a route that issues tickets to authenticated callers."""

    def __init__(self, tickets: TicketProvider) -> None:
        self._tickets = tickets

    async def __call__(self, request: Request) -> web.Response:
        """Issue a ticket. Raise AuthUnavailable."""
        principal = request.exchange.principal
        assert principal is not None  # the configuration requires authentication on such a route
        ticket = await self._tickets.issue(principal)
        return web.Response(
            status=201,
            body=orjson.dumps({"ticket": ticket, "expires_in": self._tickets.ttl_s}),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
