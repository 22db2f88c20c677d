"""Configuration problems: where, what is wrong, what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ConfigPath = tuple[str | int, ...]
"""The way to a value: `("routes", 0, "auth")`."""
Fault = tuple[ConfigPath, str]
"""The path of a value, and what is wrong with it; `Source.problem` finds its line."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration file. Lines and columns count from 1."""

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
        """For programs."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": dotted(self.path),
            "message": self.message,
            "hint": self.hint,
        }


class ConfigError(Exception):
    """A configuration that cannot be used; holds every problem found in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = sorted(problems, key=lambda p: (p.line, p.column))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration file's name, and where in it everything stands."""

    name: str
    positions: Mapping[ConfigPath, tuple[int, int]]
    """Line and column of every value; of a mapping's entry, where its key stands."""

    def problem(self, path: ConfigPath, message: str, hint: str | None = None) -> Problem:
        """A problem at a path, or at the nearest part of it that is written in the file."""
        known = path
        while known and known not in self.positions:
            known = known[:-1]
        line, column = self.positions.get(known, (1, 1))
        return Problem(self.name, line, column, path, message, hint)


def _one_line(text: str) -> str:
    """Without line breaks and other control characters, which a key may hold."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def dotted(path: ConfigPath) -> str:
    """`routes[0].auth`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
