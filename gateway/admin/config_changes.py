"""Differences between two configurations, without secrets."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gateway.admin.masked_config import MASK, masked
from gateway.config import Config
from gateway.config.secrets import FINGERPRINT

_NAMES = ("name", "id", "url")
"""Keys that identify the items of a list."""


@dataclass(frozen=True, slots=True)
class Change:
    """Difference at one place. Values are written as in the file; secrets are masked."""

    path: str
    before: Any
    """Former value; None if the place was absent."""
    after: Any
    """New value; None if the place is absent."""
    secret: bool = False
    """True if a secret changed, so that both values are masked alike."""

    @property
    def document(self) -> dict[str, Any]:
        """Change as a document of the API."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Node:
    """The same place in three documents of a configuration."""

    shown: Any
    exact: Any
    """Value in which fingerprints stand for secrets. It is compared only, never shown."""
    written: Any
    """Without what the file does not set."""

    def children(self) -> Mapping[str, _Node] | None:
        """Return the values inside of this one, by their part of the path; None for a value without
        parts.
        """
        if isinstance(self.shown, dict):
            keys = [(str(key), key) for key in self.shown]
        elif isinstance(self.shown, list) and all(isinstance(one, dict) for one in self.shown):
            names = [_name(one, index) for index, one in enumerate(self.shown)]
            keys = list(zip(names, range(len(names)), strict=True))
            if not keys or len(set(names)) < len(names):
                return None
        else:
            return None
        return {
            name: _Node(self.shown[key], _inside(self.exact, key), _inside(self.written, key))
            for name, key in keys
        }


def changes(before: Config, after: Config) -> list[Change]:
    """Return the differences, in the order of the configuration."""
    key = secrets.token_bytes(16)
    return list(_changes("", _root(before, key), _root(after, key)))


def _root(config: Config, key: bytes) -> _Node:
    return _Node(
        masked(config, in_units=True),
        config.model_dump(mode="json", context={FINGERPRINT: key}),
        masked(config, in_units=True, only_set=True),
    )


def _changes(path: str, before: _Node | None, after: _Node | None) -> Iterator[Change]:
    if before is None or after is None:
        old, new = (None if one is None else _value(one) for one in (before, after))
        yield Change(path, old, new)
        return
    if before.exact == after.exact:
        return
    olds, news = before.children(), after.children()
    if olds is None or news is None:
        hidden = before.shown == after.shown
        yield Change(path, _value(before), _value(after), secret=hidden)
        return
    is_list = isinstance(after.shown, list)
    for name in dict.fromkeys([*olds, *news]):
        place = f"{path}[{name}]" if is_list else f"{path}.{name}" if path else name
        yield from _changes(place, olds.get(name), news.get(name))
    if is_list and set(olds) == set(news) and list(olds) != list(news):
        yield Change(f"{path} (order)", list(olds), list(news))


def _value(node: _Node) -> Any:
    """Return the value to show. Of a section, it has only what the file sets."""
    if isinstance(node.shown, dict) and node.shown and node.written is not None:
        return node.written
    return node.shown


def _name(item: Mapping[str, Any], index: int) -> str:
    for key in _NAMES:
        if isinstance(found := item.get(key), str) and found != MASK:
            return found
    return str(index)


def _inside(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    return value[key] if isinstance(value, list) and key < len(value) else None
