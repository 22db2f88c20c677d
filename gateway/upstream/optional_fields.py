"""Which optional fields of a request a backend takes: so configured, or learnt from its answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

_NONE: frozenset[str] = frozenset()


class OptionalFields:
    """Of one upstream, whose models may differ. A model is named as in the configuration; callers
    who name any model they like share the empty name.
    """

    __slots__ = ("_always", "_refused", "_taken")

    def __init__(self, refused: Iterable[str] = ()) -> None:
        """`refused` are fields that no model of it takes."""
        self._always = frozenset(refused)
        self._refused: dict[str, frozenset[str]] = {}
        self._taken: dict[str, frozenset[str]] = {}

    def refused(self, model: str) -> Collection[str]:
        """Fields that are not sent."""
        return self._refused.get(model, self._always)

    def taken(self, model: str) -> Collection[str]:
        """Fields that it was seen to take."""
        return self._taken.get(model, _NONE)

    def refuses(self, model: str, fields: Collection[str]) -> None:
        """It answered well without these fields, and not with them."""
        if fields:
            self._refused[model] = frozenset({*self.refused(model), *fields})

    def takes(self, model: str, fields: Collection[str]) -> None:
        """It answered well with these fields."""
        taken = self._taken.get(model, _NONE)
        if not taken.issuperset(fields):
            self._taken[model] = taken.union(fields)
