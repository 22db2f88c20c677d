"""Input of a balancer from a request: nothing, the body, or the value to hash."""

from __future__ import annotations

from collections.abc import Callable

from multidict import CIMultiDictProxy

from gateway.auth.claims import claim
from gateway.config import models
from gateway.facts import Facts
from gateway.limiting.keys import KEYS
from gateway.routing.target import HintOf, no_hint
from gateway.upstream.balancing.balancer import Hint

Value = Callable[[Facts, CIMultiDictProxy[str]], str | None]


def hint_of(balance: str | models.HashKey) -> HintOf:
    """Return the function that makes the hint for an upstream's balancer."""
    if isinstance(balance, models.HashKey):
        value = _value(balance.hash)
        return lambda facts, headers, body: Hint(key=value(facts, headers))
    if balance == "prefix":
        return lambda facts, headers, body: Hint(body=body)
    return no_hint


def reads_json(balance: str | models.HashKey) -> bool:
    """Tell whether the balancer needs the parsed body."""
    return isinstance(balance, models.HashKey) and balance.hash.startswith("body.")


def _value(word: str) -> Value:
    kind, _, name = word.partition(".")
    if kind == "header":
        return lambda facts, headers: headers.get(name)
    if kind == "claim":
        return lambda facts, headers: _claim(facts, name)
    if kind == "body":
        return lambda facts, headers: _field(facts, name)
    key = KEYS[word]
    return lambda facts, headers: key(facts)


def _claim(facts: Facts, name: str) -> str | None:
    principal = facts.principal
    value = claim(principal.claims, name) if principal is not None else None
    return value if isinstance(value, str) else None


def _field(facts: Facts, name: str) -> str | None:
    parsed = facts.json
    value = None if parsed is None else parsed.document.get(name)
    return value if isinstance(value, str) else None
