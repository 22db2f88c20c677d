"""pydantic's errors as problems of the configuration, in plain words and at the right place."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.config.models import Config
from gateway.config.problems import ConfigPath, ConfigSource, Problem
from gateway.config.wording import in_words


def translate(errors: Sequence[ErrorDetails], source: ConfigSource, document: Any) -> list[Problem]:
    """Return the problems for the errors of a document."""
    problems = []
    # pydantic also reports a list with invalid items as too short: drop that error.
    errors = [e for e in errors if e["type"] != "too_short" or not _has_inner(e, errors)]
    found = [(error, _walk(error["loc"], document)) for error in errors]
    for error, place in found:
        if place.aside is not None and any(_meant(other, place.aside) for _, other in found):
            continue
        kind = error["type"]
        hint = None
        if kind == "extra_forbidden":
            hint = nearest(str(place.path[-1]), place.model.model_fields if place.model else ())
        message = in_words(
            kind, error["msg"], error.get("ctx", {}), place.fields, _written(place.path, document)
        )
        problem = source.problem(place.path, message, hint)
        if problem not in problems:
            problems.append(problem)
    return problems


def _written(path: ConfigPath, document: Any) -> object:
    """Return the value at a path of the document; None if there is none."""
    value = document
    for part in path:
        value = _inside(value, part)
    return value


def _has_inner(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    size = len(error["loc"])
    return any(len(e["loc"]) > size and e["loc"][:size] == error["loc"] for e in errors)


@dataclass(frozen=True, slots=True)
class _Place:
    """Place of an error."""

    path: ConfigPath
    """Path as it is written in the file."""
    model: type[BaseModel] | None
    """Model of the mapping that contains the last part of the path."""
    fields: tuple[str, ...]
    """Keys that are allowed in that place, if it is a mapping with known keys."""
    aside: ConfigPath | None
    """Path of a value with several allowed types (word, list, mapping), if the error is about a
    type that was not written. Errors about the written type are more helpful, and are preferred.
    """


def _meant(place: _Place, path: ConfigPath) -> bool:
    return place.aside is None and place.path[: len(path)] == path


def _walk(location: ConfigPath, value: Any) -> _Place:
    """Return the place of an error in a document.

    pydantic's location also contains the branch of a union that it tried: a tag or a type. That
    part is left out of the path.
    """
    path: list[str | int] = []
    model: type[BaseModel] | None = None
    aside: ConfigPath | None = None
    kind: Any = Config
    for part in location[:-1] if location[-1:] == ("[key]",) else location:
        kinds = branches(kind)
        if len(kinds) > 1:
            chosen = [one for one in kinds if _is_branch(part, one)]
            if chosen or part not in _fields(kinds):
                kind = chosen[0] if chosen else None
                if aside is None and type(value) is not _shape(part, kind, value):
                    aside = tuple(path)
                continue
        path.append(part)
        value = _inside(value, part)
        kind = kinds[0] if kinds else None
        model = None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:  # dict[name, item] or tuple[item, ...]
            arguments = get_args(kind)
            kind = arguments[0 if get_origin(kind) is tuple else -1] if arguments else None
    return _Place(tuple(path), model, tuple(_fields(branches(kind))), aside)


def _inside(value: Any, part: str | int) -> Any:
    """Return the value at one part of a path, or None if there is none."""
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, tuple) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def branches(kind: Any) -> list[Any]:
    """Return the alternatives of a type, without None."""
    if get_origin(kind) is Annotated:
        return branches(get_args(kind)[0])
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return [one for part in get_args(kind) if part is not NoneType for one in branches(part)]
    return [kind]


def _fields(kinds: list[Any]) -> list[str]:
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [name for model in models for name in model.model_fields]


def _tag(kind: Any) -> str | None:
    """Return the `type` of a model in a tagged union, or None."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return None
    field = kind.model_fields.get("type")
    words = get_args(field.annotation) if field else ()
    return str(words[0]) if words else None


def _is_branch(part: str | int, kind: Any) -> bool:
    """Tell whether a part of a location is pydantic's name of a type: its tag, or its name."""
    name = _name(kind)
    return part in (_tag(kind), name) or (name is not None and str(part).endswith(f", {name}]"))


def _shape(part: str | int, kind: Any, value: Any) -> type:
    """Return the Python type that a branch requires: dict, tuple, or the type of a scalar value."""
    if _name(kind) is not None:
        return dict
    if str(part).startswith("tuple["):
        return tuple
    return type(value) if not isinstance(value, (dict, tuple)) else str


def _name(kind: Any) -> str | None:
    """Return the name of a model, or None for any other type."""
    return kind.__name__ if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def nearest(word: str, known: Any) -> str | None:
    """Return a hint with the known word that is most similar to this one, or None."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else None
