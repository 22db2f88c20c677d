"""Position of a secret in the configuration, for one that is read only when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.config.problems import ConfigPath, ConfigSource, Problem

_SOURCES = ("env", "file", "command", "provider", "name")
"""Keys that tell one secret from another."""


class SecretPositions:
    """Positions of the secrets in one document."""

    def __init__(self, document: object, source: ConfigSource) -> None:
        self._document = document
        self._source = source

    def problem(self, keys: Mapping[str, object], message: str) -> Problem:
        """Return the problem of the secret with these keys, at the first place that names it."""
        wanted = {key: keys.get(key) for key in _SOURCES}
        found = next(_paths(self._document, wanted, ()), ())
        return self._source.problem(found, message)


def _paths(node: object, wanted: Mapping[str, object], path: ConfigPath) -> Iterator[ConfigPath]:
    if isinstance(node, Mapping):
        if all(_same(node.get(key), value) for key, value in wanted.items()):
            yield path
        for key, below in node.items():
            yield from _paths(below, wanted, (*path, key))
    elif isinstance(node, list | tuple):
        for index, below in enumerate(node):
            yield from _paths(below, wanted, (*path, index))


def _same(written: object, value: object) -> bool:
    return tuple(written) == value if isinstance(written, list) else written == value
