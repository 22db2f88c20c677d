"""Header fields that tell callers what remains of their limits.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers. The fields
`x-ratelimit-…` are OpenAI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from gateway.limiting.demand import Level
from gateway.limiting.rules import Amount, Rule, Unit

_UNITS = {
    Unit.REQUESTS: "",
    Unit.CONCURRENCY: ';qu="concurrent-requests"',
    Unit.BUDGET_MONEY: ';qu="micro-money"',
}
_OPENAI = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens"}
"""OpenAI's names for units; it has none for the others."""


class HeaderFields:
    """Header fields of one caller's limits. What does not change with use is made once."""

    __slots__ = ("_amounts", "_joined", "_openai", "_rules", "_template")

    def __init__(self, rules: Sequence[Rule], amounts: Sequence[Amount]) -> None:
        self._rules, self._amounts = rules, amounts
        self._joined: tuple[HeaderFields, HeaderFields] | None = None
        """Other fields, and the result of `behind` for them."""
        policies = ", ".join(map(_policy, rules, amounts))
        states = ", ".join([f'"{rule.name}";r=%d;t=%d' for rule in rules])
        template = f"RateLimit-Policy: {policies}\r\nRateLimit: {states}\r\n"
        places: dict[str, list[int]] = {}
        for place, rule in enumerate(rules):
            if (kind := _OPENAI.get(rule.unit)) is not None:
                places.setdefault(kind, []).append(place)
        quotas = [int(amount.size) for amount in amounts]
        for kind, found in places.items():
            quota = "%d" if len(found) > 1 else quotas[found[0]]
            template += (
                f"x-ratelimit-limit-{kind}: {quota}\r\n"
                f"x-ratelimit-remaining-{kind}: %d\r\n"
                f"x-ratelimit-reset-{kind}: %.3fs\r\n"
            )
        self._template = template.encode()
        self._openai = [(found[0], found[1:], quotas) for found in places.values()]

    def behind(self, first: HeaderFields) -> HeaderFields:
        """Return the fields of the limits of `first` and of these."""
        if self._joined is None or self._joined[0] is not first:
            rules = (*first._rules, *self._rules)
            self._joined = first, HeaderFields(rules, (*first._amounts, *self._amounts))
        return self._joined[1]

    def lines(self, levels: Sequence[Level]) -> bytes:
        """Return the lines for the levels of a decision, one level for each rule."""
        values: list[float] = []
        for level in levels:
            values += level.remaining, ceil(level.wait_s)
        for place, others, quotas in self._openai:
            level = levels[place]
            if others:  # of several limits, the one with the least left counts
                for other in others:
                    if levels[other].remaining <= level.remaining:
                        place, level = other, levels[other]
                values.append(quotas[place])
            values += level.remaining, level.wait_s
        return self._template % tuple(values)


def _policy(rule: Rule, amount: Amount) -> str:
    window = "" if not amount.per_s else f";w={max(1, round(amount.size / amount.per_s))}"
    unit = _UNITS.get(rule.unit, ';qu="tokens"')
    return f'"{rule.name}";q={int(amount.size)}{unit}{window}'
