"""Limits as operators see them: the remaining amount by key, and the recent refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gateway.admin.fleet import WorkerReply
from gateway.app import Runtime
from gateway.auth.allowance import parse_budget
from gateway.config import models
from gateway.limiting.activity import ActiveKey
from gateway.limiting.rules import Unit

_SHOWN_REFUSALS = 100
_MONEY = 1e-6
_NOTHING = 0.001


async def worker_limits(runtime: Runtime) -> dict[str, Any]:
    """Return the limits of one worker: its recently used keys, and the amounts left."""
    keys = list(runtime.limit_activity.keys)
    levels = await runtime.stores.limits.look([key.look for key in keys]) if keys else ()
    limits = runtime.config.limits
    return {
        "keys": [
            {
                **_document(key, limits.get(key.rule.name)),
                "remaining": max(0.0, level.remaining * _scale(key)),
                "wait_s": round(level.wait_s, 3),
            }
            for key, level in zip(keys, levels, strict=True)
            if key.rule.name in limits or key.rule.told is not None
        ],
        "refused": [dataclasses.asdict(refusal) for refusal in runtime.limit_activity.refusals],
        "store": runtime.stores.limits.state.value,
    }


def merge_limits(replies: Sequence[WorkerReply]) -> dict[str, Any]:
    """Combine the limits of all workers: each key once, scarcest first; newest refusals first."""
    keys: dict[tuple[str, ...], dict[str, Any]] = {}
    refused: list[dict[str, Any]] = []
    for one in replies:
        refused += one.document["refused"]
        for key in one.document["keys"]:
            name = (key["limit"], key["unit"], key["period"] or "", *key["parts"])
            known = keys.setdefault(name, {**key, "refused": 0})
            known["refused"] += key["refused"]
            known["refused_at"] = max(known["refused_at"] or 0, key["refused_at"] or 0) or None
            known["remaining"] = min(known["remaining"], key["remaining"])
            known["wait_s"] = max(known["wait_s"], key["wait_s"])
    return {
        "keys": sorted(keys.values(), key=_urgency),
        "refused": sorted(refused, key=lambda one: -one["at"])[:_SHOWN_REFUSALS],
        "store": "closed" if all(one.document["store"] == "closed" for one in replies) else "open",
    }


def _urgency(key: dict[str, Any]) -> tuple[int, str, str, list[str]]:
    """Return a sort key: exhausted limits first, then those with less than 20 % left, then the
    others; each group in a stable order by name.
    """
    share = key["remaining"] / key["size"] if key["size"] else 0.0
    group = 0 if share <= _NOTHING else 1 if share < 0.2 else 2
    return group, key["limit"], key["unit"], key["parts"]


def _document(key: ActiveKey, limit: models.Limit | None) -> dict[str, Any]:
    """Return the document of a key. For a limit that was set at run time, and is not in the
    configuration, the level is the word of its key.
    """
    rule = key.rule
    amount = (rule.told or "").partition("budget of ")[2] if limit is None else limit.budget
    words = rule.name.partition(":")[2] if limit is None else limit.key
    return {
        "limit": rule.name,
        "unit": rule.unit.value,
        "by": [words] if isinstance(words, str) else list(words),
        "parts": list(key.parts),
        "size": key.look.size * _scale(key),
        "per_s": key.look.per_s,
        "currency": parse_budget(amount)[1] if amount and rule.unit is Unit.BUDGET_MONEY else None,
        "period": rule.amount.period or None,
        "soft": rule.warn_at,
        "refused": key.refused,
        "refused_at": key.refused_at,
    }


def _scale(key: ActiveKey) -> float:
    return _MONEY if key.rule.unit is Unit.BUDGET_MONEY else 1.0
