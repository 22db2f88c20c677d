"""Names of models, and patterns for them: `*` stands for any characters, `/` included.

Nothing else in a pattern is special, and matching needs no regular expression: its time is linear
in the length of the name for each part between two stars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


def is_pattern(text: str) -> bool:
    """Tell whether a text is a pattern, not the name of one model."""
    return "*" in text


@dataclass(frozen=True, slots=True)
class NamePattern:
    """Pattern of names. A pattern without `*` matches the name that equals it."""

    first: str
    """Text at the beginning of the names."""
    middle: tuple[str, ...]
    """Texts that follow in this order, none of which overlaps another."""
    last: str | None
    """Text at the end of the names; None if the names equal `first`."""

    @classmethod
    def of(cls, text: str) -> NamePattern:
        """Return the pattern that a text describes."""
        first, *rest = text.split("*")
        if not rest:
            return cls(first, (), None)
        return cls(first, tuple(part for part in rest[:-1] if part), rest[-1])

    def matches(self, name: str) -> bool:
        """Tell whether the pattern matches a name as a whole."""
        if self.last is None:
            return name == self.first
        end = len(name) - len(self.last)
        at = len(self.first)
        if end < at or not (name.startswith(self.first) and name.endswith(self.last)):
            return False
        for part in self.middle:
            # The leftmost place leaves the most room for the parts that follow.
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    def among(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that the pattern matches."""
        if self.last == "" and not self.middle:
            first = self.first
            return [name for name in names if name.startswith(first)]
        return [name for name in names if self.matches(name)]

    @property
    def specificity(self) -> tuple[bool, int]:
        """Order of precedence, the largest first: a name, then the pattern with the most text."""
        text = len(self.first) + sum(map(len, self.middle)) + len(self.last or "")
        return self.last is None, text


def overlap(pattern: str, prefix: str) -> bool:
    """Tell whether a pattern may match names that begin with `prefix`. It may be that none of the
    names that exist matches.
    """
    own = NamePattern.of(pattern)
    if own.last is None:
        return own.first.startswith(prefix)
    return own.first.startswith(prefix) or prefix.startswith(own.first)


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Lists of names and patterns. A name is contained if every list has it."""

    lists: tuple[tuple[str, ...], ...]
    """Each list sorted, without duplicates."""
    _patterns: tuple[tuple[NamePattern, ...], ...]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and all(
            any(pattern.matches(name) for pattern in patterns) for patterns in self._patterns
        )


AllowedModels = frozenset[str] | ModelNames
"""Models that somebody may use. Only lists with patterns need the second form."""


def allowed_models(lists: Iterable[Iterable[str]]) -> AllowedModels | None:
    """Return the models that all of these lists allow; None if there is no list."""
    exact: frozenset[str] | None = None
    others: list[tuple[str, ...]] = []
    for one in lists:
        names = frozenset(one)
        if any(map(is_pattern, names)):
            others.append(tuple(sorted(names)))
        else:
            exact = names if exact is None else exact & names
    if not others:
        return exact
    both = ModelNames(tuple(others), tuple(tuple(map(NamePattern.of, one)) for one in others))
    return both if exact is None else frozenset(name for name in exact if name in both)


def as_document(allowed: AllowedModels | None) -> list[str] | list[list[str]] | None:
    """Return allowed models in plain types: a list of names, or a list of lists with patterns."""
    if isinstance(allowed, ModelNames):
        return [list(one) for one in allowed.lists]
    return None if allowed is None else sorted(allowed)


def of_document(document: Sequence[str] | Sequence[Sequence[str]] | None) -> AllowedModels | None:
    """Return what `as_document` was given."""
    if document is None:
        return None
    names = [one for one in document if isinstance(one, str)]
    lists = [one for one in document if not isinstance(one, str)]
    return allowed_models(lists) if lists else frozenset(names)


def selected(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that a list of names and patterns selects, each once, in the order of the
    list; names of the same pattern in their own order.
    """
    known = names if isinstance(names, Mapping) else dict.fromkeys(names)
    found: dict[str, None] = {}
    for text in patterns:
        if not is_pattern(text):
            if text in known:
                found[text] = None
            continue
        found |= dict.fromkeys(NamePattern.of(text).among(known))
    return list(found)
