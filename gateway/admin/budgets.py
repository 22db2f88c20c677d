"""Budgets of keys, users and teams as operators see them: what of each is used in its period."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.admin.document import Document
from gateway.auth.allowance import Grant, parse_budget
from gateway.config import Config
from gateway.limiting.own_rules import OwnRules
from gateway.limiting.rules import Unit
from gateway.store.records import StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers
from gateway.wiring.prices import prices

_MONEY = 1e-6
_ATTEMPTS = 2
"""The store is asked again once, since a busy machine may make it late."""


class BudgetState(Document):
    """A budget and its use in the current period."""

    budget: str
    """The budget as it was set, such as `500 USD/month`."""
    used: float
    """Amount used or reserved, in the unit of the budget."""
    size: float
    unit: str
    """`tokens`, or a currency."""
    resets_in_s: float
    """Seconds until the period ends, in UTC."""


async def budgets_of(config: Config, grants: Sequence[Grant]) -> list[list[dict[str, Any]]] | None:
    """Return the budgets of each allowance; None if the store does not answer."""
    own = OwnRules(prices(config))
    looks = [own.looks(grant) for grant in grants]
    demands = [demand for each in looks for _, demand in each]
    if not demands or not config.store.location.is_shared:
        return [[] for _ in grants]
    try:
        store = makers(config.store.location).open_limits(config.store.location)
    except UNUSABLE:
        return None
    try:
        for attempt in range(_ATTEMPTS):
            try:
                verdict = await store.decide(demands)
                break
            except StoreUnavailable:
                if attempt == _ATTEMPTS - 1:
                    return None
    finally:
        await store.close()
    levels = iter(verdict.levels)
    found: list[list[dict[str, Any]]] = []
    for grant, each in zip(grants, looks, strict=True):
        states = []
        for (rule, demand), budget in zip(each, grant.allowance.budgets, strict=True):
            scale = _MONEY if rule.unit is Unit.BUDGET_MONEY else 1.0
            remaining = next(levels).remaining
            states.append(
                {
                    "budget": budget,
                    "used": (demand.size - remaining) * scale,
                    "size": demand.size * scale,
                    "unit": parse_budget(budget)[1],
                    "resets_in_s": round(demand.ttl_s, 1),
                }
            )
        found.append(states)
    return found
