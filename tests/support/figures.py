"""Figures that tests measure. The `report` fixture collects them, and the end of the run prints
them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Report = Callable[[str, str, float | str], None]
"""Function that reports a figure of a reliability case, such as
`report("S6", "abort to upstream closed, p99 ms", 3.2)`.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """Measured number. Its unit is part of the name."""

    case: str
    name: str
    value: float | str


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: always a value that occurred."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def table(figures: Iterable[Figure]) -> list[str]:
    """Return the lines of a table, with cases in natural order."""
    rows = [
        (figure.case, figure.name, _written(figure.value))
        for figure in sorted(figures, key=lambda figure: _natural(figure.case))
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1, 2)]
    return [
        f"{case:<{widths[0]}}  {name:<{widths[1]}}  {value:>{widths[2]}}"
        for case, name, value in rows
    ]


def _natural(case: str) -> tuple[str, int]:
    match = re.match(r"([A-Z]+)(\d+)", case)
    return (match[1], int(match[2])) if match else (case, 0)


def _written(value: float | str) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
