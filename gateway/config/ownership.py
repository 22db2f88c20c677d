"""Ownership: what a file of one team may define, and what its values may reach.

A value can reach beyond its section: a plug-in is code of the gateway, a secret may be the output
of a program or a variable of another team, an upstream may be the metadata service. So a file with
`owns` may use only what its entry lists.
"""

from __future__ import annotations

import fnmatch
import glob
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.config.problems import ConfigPath, ConfigSource, Problem

_REACHES = ("paths", "secrets", "files", "commands", "plugins", "egress")
"""Keys of `owns` that are not sections."""
_FILES = frozenset({"file", "ca", "cert", "client_ca", "public_key", "directory"})
"""Keys whose text is the path of a file."""


class Ownership:
    """Names that a file of one team may define, and resources that it may use."""

    def __init__(self, owns: Mapping[str, Any], stem: str, source: ConfigSource) -> None:
        """`owns` is the value of the key in the entry, before its validation. `stem` is the file's
        name without its suffix.
        """
        self._owns = owns
        self._stem = stem
        self._source = source

    def problems(self, found: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what the document of the file defines or uses without owning it."""
        for section, value in found.items():
            patterns = self._patterns(section)
            if section in _REACHES or patterns is None:
                sections = ", ".join(name for name in self._owns if name not in _REACHES)
                yield self._problem((section,), "this file owns no such section", sections)
                continue
            yield from self._named(section, value, patterns)
            yield from self._reached((section,), value)
        yield from self._served(found.get("routes"))

    def _named(self, section: str, value: object, patterns: Sequence[str]) -> Iterator[Problem]:
        if isinstance(value, Mapping):
            names: list[tuple[ConfigPath, object]] = [((section, one), one) for one in value]
        else:
            items = value if isinstance(value, tuple) else ()
            names = [((section, i), _inside(one, "name")) for i, one in enumerate(items)]
        for path, name in names:
            if not _fits(name, patterns):
                message = f"this file owns no {section} named '{name}'"
                yield self._problem(path, message, ", ".join(patterns))

    def _served(self, routes: object) -> Iterator[Problem]:
        patterns = self._patterns("paths")
        if patterns is None:
            return
        for index, route in enumerate(routes if isinstance(routes, tuple) else ()):
            if not _fits(_inside(route, "path"), patterns):
                place: ConfigPath = ("routes", index, "path")
                message = "this file does not own the path"
                yield self._problem(place, message, ", ".join(patterns))

    def _reached(self, path: ConfigPath, value: object) -> Iterator[Problem]:
        """Yield what a value reaches outside of the configuration, at any depth."""
        if isinstance(value, Mapping):
            for key, below in value.items():
                here = (*path, key)
                yield from self._used(here, str(key), below, value)
                yield from self._reached(here, below)
        elif isinstance(value, list | tuple):
            for index, below in enumerate(value):
                yield from self._reached((*path, index), below)

    def _used(
        self, path: ConfigPath, key: str, value: object, beside: Mapping[Any, object]
    ) -> Iterator[Problem]:
        if key == "use":
            yield from self._listed(path, "plugins", value)
        elif key == "command" and isinstance(value, list | tuple) and value:
            yield from self._listed(path, "commands", value[0])
        elif key == "env" and len(beside) == 1:
            yield from self._listed(path, "secrets", value)
        elif key == "provider" and "name" in beside:
            yield from self._listed(path, "secrets", beside["name"])
        elif isinstance(value, str) and (key in _FILES or (key == "key" and "cert" in beside)):
            yield from self._listed(path, "files", posixpath.normpath(value))
        elif key in ("allow_addresses", "proxy") and value and self._owns.get("egress") is not True:
            message = "this file may not choose where connections go"
            yield self._source.problem(path, message, "set `egress: true` in its `owns`")

    def _listed(self, path: ConfigPath, key: str, value: object) -> Iterator[Problem]:
        patterns = self._patterns(key)
        if patterns is None:
            hint = f"list it under `{key}` in its `owns`"
            yield self._source.problem(path, f"this file may use no {key}", hint)
        elif not _fits(value, patterns):
            yield self._problem(path, f"this file may not use '{value}'", ", ".join(patterns))

    def _problem(self, path: ConfigPath, message: str, owned: str) -> Problem:
        return self._source.problem(path, message, f"it owns {owned}")

    def _patterns(self, key: str) -> tuple[str, ...] | None:
        """Return the patterns of a key of `owns`; None if it is not given."""
        patterns = self._owns.get(key)
        if patterns is None:
            return None
        given = (patterns,) if isinstance(patterns, str) else patterns
        if not isinstance(given, Sequence):
            return ()
        return tuple(str(one).replace("{file}", glob.escape(self._stem)) for one in given)


def _fits(name: object, patterns: Sequence[str]) -> bool:
    return isinstance(name, str) and any(fnmatch.fnmatchcase(name, one) for one in patterns)


def _inside(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None
