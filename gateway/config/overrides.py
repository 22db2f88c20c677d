"""Overrides by environment variables: `GATEWAY_SERVER__LISTEN=0.0.0.0:8080`.

Two underscores separate the parts of the path. A part is written in capitals; every character
other than a letter or a digit becomes an underscore. The value is YAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from gateway.config.include import MergedDocument
from gateway.config.model_errors import branches, nearest
from gateway.config.models import Config
from gateway.config.problems import ConfigPath, Problem, dotted, whole_file
from gateway.config.yaml_reader import YamlReader

PREFIX = "GATEWAY_"
_VARIABLE = re.compile(r"GATEWAY_([A-Z0-9_]+?__[A-Z0-9_]+)")


@dataclass(frozen=True, slots=True)
class Override:
    """Value that an environment variable has set."""

    variable: str
    path: ConfigPath

    @property
    def document(self) -> dict[str, str]:
        """The override as a document of the API."""
        return {"variable": self.variable, "path": dotted(self.path)}


class _Unknown(Exception):
    """There is no such setting. Has the reason and a hint."""

    def __init__(self, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.hint = hint


def apply_overrides(merged: MergedDocument, environ: Mapping[str, str]) -> tuple[Override, ...]:
    """Set the values of a document that variables give. Problems are added to it. An empty variable
    sets nothing.
    """
    found = []
    for variable in sorted(environ):
        match = _VARIABLE.fullmatch(variable)
        if match is None or not environ[variable].strip():
            continue
        name = f"${variable}"
        reader = YamlReader(name)
        value = reader.read(environ[variable])
        try:
            merged.document, path = _set(merged.document, match[1].split("__"), [Config], value, ())
        except _Unknown as exc:
            merged.problems.append(whole_file(name, str(exc), exc.hint))
            continue
        merged.problems += (
            Problem(name, one.line, one.column, (*path, *one.path), one.message, one.hint)
            for one in reader.problems
        )
        for known in [one for one in merged.positions if one[: len(path)] == path]:
            del merged.positions[known]
        for known in [one for one in merged.files if one[: len(path)] == path]:
            del merged.files[known]
        merged.files[path] = name
        for below, position in reader.positions.items():
            merged.positions[(*path, *below)] = position
        found.append(Override(variable, path))
    return tuple(found)


def _set(
    container: Any, parts: list[str], kinds: list[Any], value: Any, path: ConfigPath
) -> tuple[Any, ConfigPath]:
    """Return a container with another value at a place, and the path of the place. Raise
    _Unknown.
    """
    if not parts:
        return value, path
    key, below = _step(container, parts[0], kinds, path)
    if isinstance(key, int):
        item, whole = _set(container[key], parts[1:], below, value, (*path, key))
        return (*container[:key], item, *container[key + 1 :]), whole
    inside = container if isinstance(container, dict) else {}
    item, whole = _set(inside.get(key), parts[1:], below, value, (*path, key))
    return {**inside, key: item}, whole


def _step(
    container: Any, part: str, kinds: list[Any], path: ConfigPath
) -> tuple[str | int, list[Any]]:
    """Return the key of a part of a path, and the types that its value may have."""
    models = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
    fields = {
        name: [kind for model in models if name in model.model_fields
               for kind in branches(model.model_fields[name].annotation)]
        for model in models
        for name in model.model_fields
    }  # fmt: skip
    for name in fields:
        if _variable_part(name) == part:
            return name, fields[name]
    where = dotted(path) or "the configuration"
    if isinstance(container, dict) and any(get_origin(one) is dict for one in kinds):
        names = [name for name in container if _variable_part(name) == part]
        if len(names) > 1:
            raise _Unknown(f"{part} may be {' or '.join(names)} of {where}", None)
        if names:
            return names[0], _items(kinds, dict)
        hint = nearest(part, [_variable_part(name) for name in container])
        raise _Unknown(f"{where} has no {part}: a variable changes what a file defines", hint)
    if isinstance(container, tuple) and any(get_origin(one) is tuple for one in kinds):
        for index, item in enumerate(container):
            named = item.get("name") if isinstance(item, dict) else None
            if part == str(index) or (isinstance(named, str) and _variable_part(named) == part):
                return index, _items(kinds, tuple)
        raise _Unknown(f"{where} has no {part}: write the name or the number of an item", None)
    raise _Unknown(
        f"{where} has no setting {part}", nearest(part, [_variable_part(one) for one in fields])
    )


def _items(kinds: list[Any], container: type) -> list[Any]:
    arguments = [get_args(one) for one in kinds if get_origin(one) is container]
    return [kind for one in arguments for kind in branches(one[0 if container is tuple else -1])]


def _variable_part(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()
