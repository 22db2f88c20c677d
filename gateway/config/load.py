"""Configuration loader: YAML with positions, expanded `${ENV}`, and all problems at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import orjson
import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.advice import advise
from gateway.config.check import check
from gateway.config.models import Config
from gateway.config.problems import ConfigError, ConfigPath, ConfigSource, Problem
from gateway.config.references import check_references
from gateway.config.wording import in_words
from gateway.config.yaml_words import in_plain_words

_SIZE_CAP_BYTES = 1024 * 1024
_NODE_CAP = 100_000
_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\$\{)"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Loaded configuration, with its source."""

    config: Config
    source: ConfigSource
    text: str
    base: Path
    """Folder that relative paths start from."""

    def warnings(self) -> list[Problem]:
        """Return the warnings about settings that are valid but rarely intended, by line."""
        found = (self.source.problem(*finding) for finding in advise(self.config))
        return sorted(found, key=lambda one: (one.line, one.column))


def load(path: Path) -> Config:
    """Return the configuration of a file. Raise ConfigError with every problem found."""
    return load_source(path).config


def load_source(path: Path) -> Loaded:
    """Load a file with the positions of its values. Raise ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_CAP_BYTES + 1)
        text = data.decode("utf-8")
    except FileNotFoundError as exc:
        hint = "`gateway init` writes one; --config names another"
        raise ConfigError([_whole(str(path), f"cannot be read: {exc.strerror}", hint)]) from exc
    except OSError as exc:
        raise ConfigError([_whole(str(path), f"cannot be read: {exc.strerror}")]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([_whole(str(path), "is not UTF-8 text")]) from exc
    return load_source_text(text, name=str(path), base=path.parent)


def keep(loaded: Loaded, path: Path) -> None:
    """Write the loaded text to a file, so that another process can load the same. The file contains
    no secrets, only references to them.
    """
    kept = {"text": loaded.text, "name": loaded.source.name, "base": str(loaded.base.absolute())}
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(orjson.dumps(kept))
    fresh.replace(path)


def load_kept(path: Path) -> Loaded:
    """Load a file that `keep` has written. Raise ConfigError."""
    kept = orjson.loads(path.read_bytes())
    return load_source_text(kept["text"], name=kept["name"], base=Path(kept["base"]))


def load_text(text: str, *, name: str = "config.yaml", base: Path = Path()) -> Config:
    """Return the configuration of a text. Paths are relative to `base`. Raise ConfigError."""
    return load_source_text(text, name=name, base=base).config


def load_source_text(text: str, *, name: str, base: Path) -> Loaded:
    """Load a text like `load_source`. Raise ConfigError."""
    reader = _Reader(name)
    document = reader.read(text)
    if document is None:
        raise ConfigError(reader.problems)
    source = ConfigSource(name, reader.positions)
    # A value that could not be read is reported only once.
    unread = {problem.path for problem in reader.problems}
    problems = [source.problem(*finding) for finding in check_references(document)]
    config: Config | None = None
    try:
        config = Config.model_validate(document, context={"base": base})
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_input=False)
        problems += _translate(details, source, document)
    else:
        problems += (source.problem(*finding) for finding in check(config))
    problems = [*reader.problems, *(p for p in problems if p.path not in unread)]
    if config is None or problems:
        raise ConfigError(problems)
    return Loaded(config, source, text, base)


def _whole(name: str, message: str, hint: str | None = None) -> Problem:
    return Problem(name, 1, 1, (), message, hint)


class _Reader:
    """Reader that turns YAML into plain values, and records the position of each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes = 0
        self.positions: dict[ConfigPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []

    def read(self, text: str) -> Any:
        if len(text) > _SIZE_CAP_BYTES:
            self.problems.append(_whole(self._name, "is larger than 1 MiB"))
            return None
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if root is None:
                self.problems.append(_whole(self._name, "is empty"))
                return None
            return self._value(root, ())
        except yaml.MarkedYAMLError as exc:
            line, column, message = in_plain_words(exc, text)
            self.problems.append(Problem(self._name, line, column, (), message))
        except yaml.YAMLError as exc:
            self.problems.append(_whole(self._name, f"not valid YAML: {exc}"))
        except RecursionError:
            self.problems.append(_whole(self._name, "is nested too deeply"))
        return None

    def _value(self, node: yaml.Node, path: ConfigPath) -> Any:
        self._nodes += 1
        if self._nodes > _NODE_CAP:
            raise yaml.YAMLError("its aliases expand to too much")
        self.positions.setdefault(path, _position(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._value(item, (*path, i)) for i, item in enumerate(node.value))
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: ConfigPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                self._add(key_node, path, "a key has to be plain text")
                continue
            here = (*path, key)
            if key in found:
                self._add(key_node, here, "is given twice")
            self.positions[here] = _position(key_node)
            found[key] = self._value(value_node, here)
        return found

    def _scalar(self, node: yaml.Node, path: ConfigPath) -> Any:
        constructor: Any = yaml.SafeLoader("")
        text, tag = node.value, node.tag
        if "${" in text:
            text = self._expand(node, path)
            if isinstance(node, yaml.ScalarNode) and node.style is None:
                # The scalar is not quoted, so its expanded text may be a number.
                tag = constructor.resolve(yaml.ScalarNode, text, (True, False))
        if tag == "tag:yaml.org,2002:timestamp":
            return text
        try:
            return constructor.construct_object(yaml.ScalarNode(tag, text), deep=True)
        except (yaml.YAMLError, ValueError, LookupError) as exc:
            self._add(node, path, f"cannot be read: {exc}")
            return None

    def _expand(self, node: yaml.Node, path: ConfigPath) -> str:
        def replace(match: re.Match[str]) -> str:
            if match["bad"]:
                self._add(node, path, "`${` needs NAME} or NAME:-default}; `$${` is a plain `${`")
            if match["name"] is None:
                return "${"
            value = os.environ.get(match["name"])
            # As in a shell, `:-` also replaces an empty value.
            if not value and match["default"] is not None:
                return match["default"]
            if value is None:
                self._add(
                    node,
                    path,
                    f"environment variable {match['name']} is not set",
                    f"write ${{{match['name']}:-default}} to do without",
                )
                return ""
            return value

        return _VARIABLE.sub(replace, node.value)

    def _add(
        self, node: yaml.Node, path: ConfigPath, message: str, hint: str | None = None
    ) -> None:
        self.problems.append(Problem(self._name, *_position(node), path, message, hint))


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


# -- pydantic's errors in plain words ---------------------------------------------------------


def _translate(
    errors: Sequence[ErrorDetails], source: ConfigSource, document: Any
) -> list[Problem]:
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
        message = in_words(kind, error["msg"], error.get("ctx", {}), place.fields)
        problem = source.problem(place.path, message, hint)
        if problem not in problems:
            problems.append(problem)
    return problems


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
        branches = _branches(kind)
        if len(branches) > 1:
            chosen = [one for one in branches if _is_branch(part, one)]
            if chosen or part not in _fields(branches):
                kind = chosen[0] if chosen else None
                if aside is None and type(value) is not _shape(part, kind, value):
                    aside = tuple(path)
                continue
        path.append(part)
        value = _inside(value, part)
        kind = branches[0] if branches else None
        model = None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:  # dict[name, item] or tuple[item, ...]
            arguments = get_args(kind)
            kind = arguments[0 if get_origin(kind) is tuple else -1] if arguments else None
    return _Place(tuple(path), model, tuple(_fields(_branches(kind))), aside)


def _inside(value: Any, part: str | int) -> Any:
    """Return the value at one part of a path, or None if there is none."""
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, tuple) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _branches(kind: Any) -> list[Any]:
    """Return the alternatives of a type, without None."""
    if get_origin(kind) is Annotated:
        return _branches(get_args(kind)[0])
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return [one for part in get_args(kind) if part is not NoneType for one in _branches(part)]
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
