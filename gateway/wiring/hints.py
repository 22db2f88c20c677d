"""Input of a balancer from a request: nothing, the body, or the value to hash."""

from __future__ import annotations

from collections.abc import Callable

from gateway.auth.claims import claim
from gateway.config import models
from gateway.limiting.keys import KEYS
from gateway.proxy.resolve import HintOf, no_hint
from gateway.request import Request
from gateway.upstream.balancing.balancer import Hint

Value = Callable[[Request, bytes | None], str | None]


def hint_of(balance: str | models.HashKey) -> HintOf:
    """Return the function that makes the hint for an upstream's balancer."""
    if isinstance(balance, models.HashKey):
        value = _value(balance.hash)
        return lambda request, body: Hint(key=value(request, body))
    if balance == "prefix":
        return lambda request, body: Hint(body=body)
    return no_hint


def reads_json(balance: str | models.HashKey) -> bool:
    """Tell whether the balancer needs the parsed body."""
    return isinstance(balance, models.HashKey) and balance.hash.startswith("body.")


def _value(word: str) -> Value:
    kind, _, name = word.partition(".")
    if kind == "header":
        return lambda request, body: request.headers.get(name)
    if kind == "claim":
        return lambda request, body: _claim(request, name)
    if kind == "body":
        return lambda request, body: _field(request, name)
    key = KEYS[word]
    return lambda request, body: key(request.exchange)


def _claim(request: Request, name: str) -> str | None:
    principal = request.exchange.principal
    value = claim(principal.claims, name) if principal is not None else None
    return value if isinstance(value, str) else None


def _field(request: Request, name: str) -> str | None:
    parsed = request.exchange.json
    value = None if parsed is None else parsed.document.get(name)
    return value if isinstance(value, str) else None
