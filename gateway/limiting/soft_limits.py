"""Soft limits: a warning when a caller has used a share of a budget, before it is used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.limiting.demand import Demand, LimitVerdict
from gateway.limiting.rules import Rule

HEADER = "X-Gateway-Budget-Warning"
"""Header that tells callers of budgets which are used up to their soft limits."""
_REPORTED_CAP = 10_000


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A budget that was used up to its soft limit."""

    limit: str
    """Name of the limit: `own:key`, `own:user` or `own:team`."""
    holder: str
    """Identity of the key, user or team, and the period of the budget."""
    budget: str
    """The budget in words."""
    used: float
    """Share of the budget that is used or reserved, from 0 to 1."""
    resets_in_s: float
    """Seconds until the period ends."""


class SoftLimits:
    """Warnings of this process. Each budget is reported once in its period."""

    def __init__(self, report: Callable[[BudgetWarning], None]) -> None:
        self._report = report
        self._reported: dict[str, None] = {}

    def check(
        self,
        watched: Sequence[int],
        rules: Sequence[Rule],
        demands: Sequence[Demand],
        verdict: LimitVerdict,
    ) -> str | None:
        """Return the value of the header if a budget is used up to its soft limit, otherwise None.
        `watched` are the places of the rules that have one.
        """
        told = []
        for place in watched:
            rule, demand, level = rules[place], demands[place], verdict.levels[place]
            assert rule.warn_at is not None
            used = 1.0 - level.remaining / demand.size
            if used < rule.warn_at:
                continue
            budget = rule.told or rule.name
            told.append(f"{budget} is used to {used:.0%}")
            if demand.key not in self._reported:
                if len(self._reported) >= _REPORTED_CAP:
                    del self._reported[next(iter(self._reported))]
                self._reported[demand.key] = None
                holder = demand.key.removeprefix(rule.prefix)
                warning = BudgetWarning(rule.name, holder, budget, round(used, 4), level.wait_s)
                self._report(warning)
        return "; ".join(told) or None
