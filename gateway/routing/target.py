"""Target of requests: an upstream as one route uses it, under one model name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import Protocol

from multidict import CIMultiDictProxy

from gateway.auth.principal import Principal
from gateway.dialects.translation.translation import Translation
from gateway.exchange import Exchange
from gateway.facts import Facts
from gateway.http.headers import (
    ACCEPT_ENCODING,
    CREDENTIALS,
    FORWARDING,
    HOP_BY_HOP,
    IDENTITY,
    OURS,
    TRACING,
    HeaderFilter,
)
from gateway.routing.model_access import ModelAccess
from gateway.routing.model_rules import ModelRules
from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.deployment import Assignment
from gateway.upstream.options import Timeouts
from gateway.upstream.upstream import Upstream

_ALWAYS_DROPPED = HOP_BY_HOP | FORWARDING | IDENTITY | OURS

HintOf = Callable[[Facts, CIMultiDictProxy[str], bytes | None], Hint]
"""Function that makes the hint from a request's facts, headers, and body as it is to be sent."""
NO_HINT = Hint()
ANY_MODEL = ModelAccess({})


def no_hint(facts: Facts, headers: CIMultiDictProxy[str], body: bytes | None) -> Hint:
    """Return no hint, for balancers that look at endpoints only."""
    return NO_HINT


class Deployed(Protocol):
    """Model with several deployments; see `gateway.routing.deployments`."""

    def choose(
        self,
        exchange: Exchange,
        headers: CIMultiDictProxy[str],
        body: bytes | None,
        tried: Collection[str] = (),
    ) -> tuple[Target, Assignment] | None:
        """Choose a deployment for the request, of those whose keys are not in `tried`."""

    def has_other(self, upstream: Upstream) -> bool:
        """Tell whether a deployment at another upstream is ready."""

    def healths(self, name: str) -> Set[str]:
        """Return the health of its deployments: `up`, `degraded` or `down`. `name` is the model's
        for callers.
        """


class Target:
    """Upstream as one route uses it, under one model name."""

    __slots__ = (
        "access",
        "continues",
        "deployed",
        "fallbacks",
        "filter_to_read",
        "header_filter",
        "hint",
        "keeps_host",
        "measures",
        "needs_whole",
        "reads_json",
        "rename_to",
        "rules",
        "scopes",
        "shows_credential",
        "tells_asked",
        "timeouts",
        "translation",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        rename_to: str | None,
        *,
        timeouts: Timeouts,
        hint: HintOf = no_hint,
        fallbacks: Sequence[tuple[str, Target]] = (),
        anonymous: bool,
        identity: frozenset[bytes] = frozenset(),
        scopes: Iterable[str] = (),
        legible: bool = False,
        translation: Translation | None = None,
        traced: bool = False,
        access: ModelAccess = ANY_MODEL,
        reads_json: bool = False,
        tells_asked: bool = False,
        queued: bool = False,
        rules: ModelRules | None = None,
        measures: bool = False,
    ) -> None:
        """`hint` computes what the balancer is told about a request. `identity` are lower-case
        names of headers that identify the caller; the gateway sets them, not the client. `scopes`
        are those that a caller needs. `legible`: responses are read, so no compressed ones are
        requested. `translation` converts between the caller's dialect and the upstream's, if they
        differ. `traced`: the gateway sets the trace headers itself. `access` decides which models
        callers may name to the upstream. `reads_json`: the balancer looks into bodies.
        `tells_asked`: responses that are not translated get the model name that the caller
        requested. `queued`: requests may have to wait in a queue. `rules` are those of the model.
        `measures`: a balancer needs to know how fast answers are.
        """
        self.deployed: Deployed | None = None
        """The model, if it has several deployments. This target is one of theirs."""
        self.measures = measures
        self.rules = rules
        self.tells_asked = tells_asked
        self.upstream = upstream
        self.access = access
        self.timeouts = timeouts
        self.hint = hint
        self.fallbacks = tuple(fallbacks)
        """Names and targets of the models to try instead, in order."""
        self.continues: bool = upstream.options.continues is not None or any(
            other.continues for _, other in self.fallbacks
        )
        """True if this target or a fallback can continue an answer that broke off."""
        self.reads_json = reads_json or self.continues
        """True if a body that is JSON has to be parsed before it is sent."""
        self.keeps_host = upstream.options.keeps_host
        """True if the upstream is sent the client's Host header."""
        self.scopes = frozenset(scopes)
        self.rename_to = rename_to
        # An unauthenticated caller may send the upstream's credential itself, unless the gateway
        # sets one for this upstream.
        keeps_credential = anonymous and not upstream.options.replaced & CREDENTIALS
        self.shows_credential = keeps_credential and translation is not None
        """True if the caller's credential is sent to the upstream in the header of the upstream's
        dialect.
        """
        self.needs_whole = translation is not None or queued
        """True if a body is read whole before the request is sent on, so that a slow client does
        not hold a place in a queue.
        """
        self.translation = translation
        self.header_filter = HeaderFilter(
            _ALWAYS_DROPPED
            | identity
            | upstream.options.replaced
            | (frozenset() if keeps_credential and translation is None else CREDENTIALS)
            | (frozenset() if translation is None else translation.dropped)
            | (ACCEPT_ENCODING if legible else frozenset())
            | (TRACING if traced else frozenset())
        )
        """Filter of the request headers that are forwarded."""
        self.filter_to_read = self.header_filter.less(ACCEPT_ENCODING)
        """The same filter without Accept-Encoding, for responses that the gateway has to read."""

    def renamed(self, name: str | None) -> Target:
        """Return a target that differs only in the upstream's name of the model."""
        made = object.__new__(Target)
        for slot in Target.__slots__:
            setattr(made, slot, getattr(self, slot))
        made.rename_to = name
        return made

    def health(self, name: str) -> str:
        """Return the health of all that serves the model with this name for callers: `up`,
        `degraded` or `down`.
        """
        if self.deployed is None:
            return self.upstream.latest.health(self.rename_to or name)
        found = self.deployed.healths(name)
        return next(iter(found)) if len(found) == 1 else "degraded"

    def serves(self, name: str, principal: Principal | None) -> bool:
        """Tell whether a caller may use this target under this name."""
        if principal is None:
            return not self.scopes
        return self.scopes <= principal.scopes and (
            principal.models is None or name in principal.models
        )


def target_of(exchange: Exchange) -> Target:
    """Return the target that model resolution has chosen. It has to have run before."""
    target = exchange.target
    assert isinstance(target, Target)
    return target
