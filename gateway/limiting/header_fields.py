"""Header fields that tell callers what remains of their limits.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers. The fields
`x-ratelimit-…` are OpenAI's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.limiting.demand import Level
from gateway.limiting.rules import Amount, Rule, Unit

_UNITS = {
    Unit.REQUESTS: "",
    Unit.CONCURRENCY: ';qu="concurrent-requests"',
    Unit.BUDGET_MONEY: ';qu="micro-money"',
}
_OPENAI = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens"}
"""OpenAI's names for units; it has none for the others."""
NAMES = frozenset(
    (
        "RateLimit-Policy",
        "RateLimit",
        *(
            f"x-ratelimit-{what}-{kind}"
            for what in ("limit", "remaining", "reset")
            for kind in _OPENAI.values()
        ),
    )
)
"""Names of all these fields."""


class HeaderFields:
    """Header fields of one caller's limits. What does not change with use is made once."""

    __slots__ = ("_openai", "_policy", "_states")

    def __init__(self, rules: Sequence[Rule], amounts: Sequence[Amount]) -> None:
        both = list(zip(rules, amounts, strict=True))
        self._policy = "RateLimit-Policy", ", ".join([_policy(rule, of) for rule, of in both])
        self._states = ", ".join([f'"{rule.name}";r=%d;t=%d' for rule in rules])
        places: dict[str, list[int]] = {}
        for place, rule in enumerate(rules):
            if (kind := _OPENAI.get(rule.unit)) is not None:
                places.setdefault(kind, []).append(place)
        self._openai = [
            (
                found[0],
                found[1:],
                {n: (f"x-ratelimit-limit-{kind}", str(int(amounts[n].size))) for n in found},
                f"x-ratelimit-remaining-{kind}",
                f"x-ratelimit-reset-{kind}",
            )
            for kind, found in places.items()
        ]

    def of(self, levels: Sequence[Level]) -> list[tuple[str, str]]:
        """Return the fields for the levels of a decision, one level for each rule."""
        # Every request runs this, so there is no call for each rule.
        state: list[int] = []
        for level in levels:
            state += level.remaining, math.ceil(level.wait_s)
        fields = [self._policy, ("RateLimit", self._states % tuple(state))]
        for place, others, limits, remaining, reset in self._openai:
            for other in others:  # of several limits, the one with the least left counts
                if levels[other].remaining <= levels[place].remaining:
                    place = other
            level = levels[place]
            fields += (
                limits[place],
                (remaining, str(level.remaining)),
                (reset, f"{level.wait_s:.3f}s"),
            )
        return fields


def _policy(rule: Rule, amount: Amount) -> str:
    window = "" if not amount.per_s else f";w={max(1, round(amount.size / amount.per_s))}"
    unit = _UNITS.get(rule.unit, ';qu="tokens"')
    return f'"{rule.name}";q={int(amount.size)}{unit}{window}'
