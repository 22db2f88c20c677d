"""Included files: which they are, and their contents merged by name into one document."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from gateway.config.models import Config
from gateway.config.ownership import Ownership
from gateway.config.problems import ConfigError, ConfigPath, ConfigSource, Problem, whole_file
from gateway.config.yaml_reader import SIZE_CAP_BYTES, YamlReader

_MOST_FILES = 1000
_SUFFIXES = (".yaml", ".yml")
_NAMED = frozenset(
    name for name, one in Config.model_fields.items() if get_origin(one.annotation) is dict
)
"""Sections that map names to values, and may be spread over files."""
_ONLY_NAMES = f"only {', '.join(sorted(_NAMED))} and routes may be spread over files"


@dataclass(frozen=True, slots=True)
class ConfigText:
    """Text of one file of the configuration."""

    name: str
    """Path of the file, for messages."""
    text: str
    entry: int | None = None
    """Index of the `include` entry that names the file; None for the main file."""


def read_text(path: Path, name: str) -> str:
    """Return the text of a file. Raise ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(SIZE_CAP_BYTES + 1).decode("utf-8")
    except FileNotFoundError as exc:
        hint = "`gateway init` writes one; --config names another"
        problem = whole_file(name, f"cannot be read: {exc.strerror}", hint)
        raise ConfigError([problem]) from exc
    except OSError as exc:
        raise ConfigError([whole_file(name, f"cannot be read: {exc.strerror}")]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([whole_file(name, "is not UTF-8 text")]) from exc


def find_files(pattern: str, base: Path) -> list[str]:
    """Return the files of a path or pattern as written from `base`, in alphabetical order. A path
    that is no pattern is returned even if there is no such file.
    """
    if "\0" in pattern:
        return []
    if glob.has_magic(pattern):
        found = glob.glob(pattern, root_dir=base, recursive=True)
        return sorted(one for one in found if (base / one).is_file())
    if (base / pattern).is_dir():
        with suppress(OSError):  # to read it as a file tells why
            return sorted(
                str(Path(pattern) / one.name)
                for one in (base / pattern).iterdir()
                if one.suffix in _SUFFIXES and not one.name.startswith(".") and one.is_file()
            )
    return [pattern]


def included_texts(main: ConfigText, base: Path) -> list[ConfigText]:
    """Read the files that a text includes. Raise ConfigError."""
    texts: list[ConfigText] = []
    problems: list[Problem] = []
    reader = YamlReader(main.name)
    document = reader.read(main.text) if "include" in main.text else None
    source = ConfigSource(main.name, reader.positions)
    for entry, pattern in enumerate(patterns_of(document)):
        for relative in find_files(pattern, base):
            name = str(Path(main.name).parent / relative)
            try:
                texts.append(ConfigText(name, read_text(base / relative, name), entry))
            except ConfigError as exc:
                (problem,) = exc.problems
                place: ConfigPath = ("include", entry)
                problems.append(source.problem(place, f"{name} {problem.message}"))
        if len(texts) > _MOST_FILES:
            problems.append(source.problem(("include", entry), f"more than {_MOST_FILES} files"))
            break
    if problems:
        raise ConfigError(problems)
    return texts


def patterns_of(document: object) -> tuple[str, ...]:
    """Return the path or pattern of each `include` entry of a document."""
    entries = document.get("include") if isinstance(document, dict) else None
    paths = [
        one.get("path") if isinstance(one, dict) else one
        for one in (entries if isinstance(entries, tuple) else ())
    ]
    # An entry without a valid path names no file. The models report it.
    return tuple(one if isinstance(one, str) and one else "*/" for one in paths)


@dataclass(slots=True)
class MergedDocument:
    """Document made of several files, with the positions of its values."""

    document: Any
    name: str
    """Name of the main file."""
    positions: dict[ConfigPath, tuple[int, int]]
    files: dict[ConfigPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    is_owned: bool = True
    """False if a file defines or uses what it does not own. No program of such a configuration may
    run, and no secret be read.
    """

    @property
    def source(self) -> ConfigSource:
        """Positions of the values by path."""
        return ConfigSource(self.name, self.positions, self.files)

    def include(self, text: ConfigText, owns: object) -> None:
        """Add the contents of a file. `owns` is the value of its entry's key, if there is one."""
        reader = YamlReader(text.name)
        found = reader.read(text.text)
        moved = len(self._routes())
        self.problems += (_moved_problem(one, moved) for one in reader.problems)
        if found is None:
            return
        if not isinstance(found, dict):
            self.problems.append(whole_file(text.name, "has to be a mapping of sections"))
            return
        source = ConfigSource(text.name, reader.positions)
        if isinstance(owns, Mapping):
            foreign = [*Ownership(owns, Path(text.name).stem, source).problems(found)]
            self.problems += (_moved_problem(one, moved) for one in foreign)
            self.is_owned = self.is_owned and not foreign
        for section, value in found.items():
            self._add_section(section, value, source)
        for path, position in reader.positions.items():
            if self.file_of(_moved(path, moved)) == text.name:
                self.positions[_moved(path, moved)] = position

    def file_of(self, path: ConfigPath) -> str:
        """Return the name of the file that a value comes from."""
        return self.source.file_of(path)

    def _add_section(self, section: str, value: Any, source: ConfigSource) -> None:
        here: ConfigPath = (section,)
        if section == "include":
            self.problems.append(source.problem(here, "an included file cannot include others"))
        elif section not in self.document:
            self.document[section] = value
            self.files[here] = source.name
        elif section == "routes" and isinstance(value, tuple):
            before = self._routes()
            self.document[section] = (*before, *value)
            self.files.update(((section, len(before) + i), source.name) for i in range(len(value)))
        elif section in _NAMED and isinstance(value, dict):
            self._add_names(section, value, source)
        else:
            where = self._place(here)
            self.problems.append(source.problem(here, f"is given twice, also {where}", _ONLY_NAMES))

    def _add_names(self, section: str, value: dict[str, Any], source: ConfigSource) -> None:
        known = self.document[section]
        if not isinstance(known, dict):
            return  # the models report the other file's value
        self.document[section] = merged = {**known}
        for name, item in value.items():
            here: ConfigPath = (section, name)
            if name in merged:
                message = f"is given twice, also {self._place(here)}"
                self.problems.append(source.problem(here, message))
                continue
            merged[name] = item
            self.files[here] = source.name

    def _routes(self) -> tuple[Any, ...]:
        routes = self.document.get("routes")
        return routes if isinstance(routes, tuple) else ()

    def _place(self, path: ConfigPath) -> str:
        line, _ = self.positions.get(path, (1, 1))
        return f"in {self.file_of(path)}:{line}"


def _moved(path: ConfigPath, by: int) -> ConfigPath:
    """Return the path in the merged document: routes come after those of the files before."""
    if len(path) > 1 and path[0] == "routes" and isinstance(path[1], int):
        return ("routes", path[1] + by, *path[2:])
    return path


def _moved_problem(problem: Problem, by: int) -> Problem:
    path = _moved(problem.path, by)
    return Problem(problem.file, problem.line, problem.column, path, problem.message, problem.hint)
