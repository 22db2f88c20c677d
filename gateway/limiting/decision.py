"""Decision of the limits on one request, for metrics and for the response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.limiting.demand import Counted, Demand, Level, LimitVerdict
from gateway.limiting.header_fields import HeaderFields
from gateway.limiting.rules import Rule


@dataclass(frozen=True, slots=True)
class Taken:
    """Part of one limit that a request used. It is counted in the store."""

    rule: str
    """Name of the limit."""
    unit: str
    demand: Demand
    level: Level


@dataclass(slots=True)
class Decision:
    """Demands of a request, and what was decided on them."""

    rules: Sequence[Rule]
    demands: Sequence[Demand]
    verdict: LimitVerdict
    fields: HeaderFields | None
    """Header fields of these rules; None if callers are not told what remains."""
    unsettled: Sequence[tuple[int, Rule]] = ()
    """Result of `unsettled` for these rules."""

    @property
    def taken(self) -> list[Taken]:
        """Parts of limits that the request used, for another process to correct. Only those that
        are counted in the store: the counts of this process are lost with it.
        """
        decided = zip(self.rules, self.demands, self.verdict.levels, strict=True)
        return [
            Taken(rule.name, rule.unit.value, demand, level)
            for rule, demand, level in decided
            if demand.counted is Counted.STORE
        ]

    def header_lines(self) -> bytes:
        """Return the header lines of the response that tell what remains."""
        return b"" if self.fields is None else self.fields.lines(self.verdict.levels)

    def header_pairs(self) -> list[tuple[str, str]]:
        """Return the same as names and values."""
        pairs = [line.partition(": ") for line in self.header_lines().decode().splitlines()]
        return [(name, value) for name, _, value in pairs]
