"""Allowance: what a key, a user or a team may use. Set while the gateway runs, and kept as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

RATE = r"[0-9]{1,12}/(?:second|minute|hour|day)"
"""Pattern of a rate."""
RATE_EXPECTED = "not a rate: write a number per second, minute, hour or day, such as 60/minute"
BUDGET = r"[0-9]{1,12}(?:\.[0-9]{1,6})? (?:tokens|[A-Z]{3})/(?:day|week|month)"
"""Pattern of a budget."""
BUDGET_EXPECTED = "not a budget: write it as 500 USD/month or 10000000 tokens/day"
_BUDGETS_CAP = 6
_MOST = 10**12


class GrantLevel(StrEnum):
    """Level at which callers share an allowance."""

    KEY = "key"
    USER = "user"
    TEAM = "team"


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(expected)
        if float(text.partition("/")[0].partition(" ")[0]) == 0:
            raise ValueError("must be more than 0; to refuse everything, suspend instead")
        return text

    return check


_Rate = Annotated[str, AfterValidator(_matching(RATE, RATE_EXPECTED))]
_Budget = Annotated[str, AfterValidator(_matching(BUDGET, BUDGET_EXPECTED))]


class Allowance(BaseModel):
    """Amounts that a key, a user or a team may use. None, or an empty list: not limited here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: _Rate | None = None
    """Rate of requests, such as `60/minute`."""
    burst: int | None = Field(None, ge=1, le=_MOST)
    """Requests at once. Default: the number of the rate."""
    tokens: _Rate | None = None
    """Rate of tokens, input and output, such as `100000/minute`."""
    token_burst: int | None = Field(None, ge=1, le=_MOST)
    """Tokens at once. Default: the number of the rate."""
    concurrency: int | None = Field(None, ge=1, le=_MOST)
    """Requests in progress at once."""
    budgets: tuple[_Budget, ...] = Field((), max_length=_BUDGETS_CAP)
    """Budgets for a calendar day, week or month in UTC, such as `500 USD/month`."""
    warn_at: float | None = Field(None, gt=0, lt=1)
    """Share of a budget, such as 0.8, from which on callers and operators are warned."""

    @model_validator(mode="after")
    def _check(self) -> Allowance:
        for rate, burst in (("requests", "burst"), ("tokens", "token_burst")):
            if getattr(self, rate) is None and getattr(self, burst) is not None:
                raise ValueError(f"{burst} belongs to {rate}, which is missing")
        if self.warn_at is not None and not self.budgets:
            raise ValueError("warn_at belongs to budgets, of which there are none")
        kinds = [budget.partition(" ")[2] for budget in self.budgets]
        if len(kinds) > len(set(kinds)):
            raise ValueError("budgets: one for each unit and period")
        return self

    @property
    def is_empty(self) -> bool:
        """True if nothing is limited."""
        return not (self.requests or self.tokens or self.concurrency or self.budgets)

    def record(self) -> dict[str, object]:
        """Return the allowance in plain types. Fields without a value are omitted."""
        return self.model_dump(mode="json", exclude_defaults=True)


NOTHING_LIMITED = Allowance()


def parse_budget(text: str) -> tuple[float, str, str]:
    """Return amount, unit (`tokens` or a currency) and period of a valid budget."""
    amount, _, rest = text.partition(" ")
    unit, _, period = rest.partition("/")
    return float(amount), unit, period


@dataclass(frozen=True, slots=True)
class Grant:
    """Allowance that applies to a caller."""

    level: GrantLevel
    holder: str
    """Identity under which it is counted."""
    allowance: Allowance
