"""Optional request fields that a backend accepts, as configured or as learnt from answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

_NONE: frozenset[str] = frozenset()


class OptionalFields:
    """Optional fields of one upstream, by model, since its models may differ.

    Models are named as in the configuration. Requests for any model name share the empty name.
    """

    __slots__ = ("_always", "_refused", "_taken")

    def __init__(self, refused: Iterable[str] = ()) -> None:
        """`refused` lists fields that no model of the upstream accepts."""
        self._always = frozenset(refused)
        self._refused: dict[str, frozenset[str]] = {}
        self._taken: dict[str, frozenset[str]] = {}

    def refused(self, model: str) -> Collection[str]:
        """Return the fields that must not be sent to the model."""
        return self._refused.get(model, self._always)

    def taken(self, model: str) -> Collection[str]:
        """Return the fields that the model is known to accept."""
        return self._taken.get(model, _NONE)

    def refuses(self, model: str, fields: Collection[str]) -> None:
        """Record that the model answered well without these fields, and failed with them."""
        if fields:
            self._refused[model] = frozenset({*self.refused(model), *fields})

    def takes(self, model: str, fields: Collection[str]) -> None:
        """Record that the model answered well with these fields."""
        taken = self._taken.get(model, _NONE)
        if not taken.issuperset(fields):
            self._taken[model] = taken.union(fields)
