"""Configuration problems: the place, the error, and a hint for the fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

ConfigPath = tuple[str | int, ...]
"""Path to a value, such as `("routes", 0, "auth")`."""
Fault = tuple[ConfigPath, str]
"""Path of a value, and what is wrong with it. `Source.problem` finds its line."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Error in a configuration file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: ConfigPath
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        what = f"{dotted(self.path)}: {self.message}" if self.path else self.message
        return _one_line(where + what + (f"; {self.hint}" if self.hint else ""))

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the problem in machine-readable form."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": dotted(self.path),
            "message": self.message,
            "hint": self.hint,
        }


class ConfigError(Exception):
    """The configuration cannot be used. Has every problem found, by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = in_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Name of a configuration file, and the positions of its values and of those in other files."""

    name: str
    positions: Mapping[ConfigPath, tuple[int, int]]
    """Line and column of every value; for an entry of a mapping, those of its key."""
    files: Mapping[ConfigPath, str] = field(default_factory=dict)
    """Names of the other sources by the path of a value; each is the source of all below it."""

    def problem(self, path: ConfigPath, message: str, hint: str | None = None) -> Problem:
        """Return a problem at the position of a path, or of its longest prefix in a file."""
        known = _longest_prefix(path, self.positions)
        line, column = self.positions.get(known, (1, 1))
        return Problem(self.file_of(known), line, column, path, message, hint)

    def file_of(self, path: ConfigPath) -> str:
        """Return the name of the file or environment variable that a value comes from."""
        return self.files.get(_longest_prefix(path, self.files), self.name)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems by file and line. The files stay in the order of their first problems."""
    found = list(problems)
    files = {name: number for number, name in enumerate(dict.fromkeys(p.file for p in found))}
    return sorted(found, key=lambda p: (files[p.file], p.line, p.column))


def whole_file(name: str, message: str, hint: str | None = None) -> Problem:
    """Return a problem of a whole file."""
    return Problem(name, 1, 1, (), message, hint)


def _longest_prefix(path: ConfigPath, known: Mapping[ConfigPath, object]) -> ConfigPath:
    while path and path not in known:
        path = path[:-1]
    return path


def _one_line(text: str) -> str:
    """Escape line breaks and other control characters, which a key may contain."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def dotted(path: ConfigPath) -> str:
    """Return a path as text, such as `routes[0].auth`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
