"""Configuration problems: the place, the error, and a hint for the fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
    """The configuration cannot be used. Has every problem found, in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = sorted(problems, key=lambda p: (p.line, p.column))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Name of a configuration file, and the positions of its values."""

    name: str
    positions: Mapping[ConfigPath, tuple[int, int]]
    """Line and column of every value; for an entry of a mapping, those of its key."""

    def problem(self, path: ConfigPath, message: str, hint: str | None = None) -> Problem:
        """Return a problem at the position of a path, or of its longest prefix in the file."""
        known = path
        while known and known not in self.positions:
            known = known[:-1]
        line, column = self.positions.get(known, (1, 1))
        return Problem(self.name, line, column, path, message, hint)


def _one_line(text: str) -> str:
    """Escape line breaks and other control characters, which a key may contain."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def dotted(path: ConfigPath) -> str:
    """Return a path as text, such as `routes[0].auth`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
