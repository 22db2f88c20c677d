"""Sums of usage that keys and users are shown with: requests, tokens, and cost by currency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USED_DAYS = 30


def no_usage() -> dict[str, Any]:
    """Return the sum of nothing."""
    return {"requests": 0, "tokens": 0, "cost": {}}


def add_usage(sums: dict[str, Any], row: Mapping[str, Any]) -> None:
    """Add a row of usage to sums. Different currencies are not added."""
    sums["requests"] += row["requests"]
    sums["tokens"] += row["tokens_in"] + row["tokens_out"]
    if row["currency"]:
        sums["cost"][row["currency"]] = sums["cost"].get(row["currency"], 0.0) + row["cost"]
