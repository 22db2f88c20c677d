"""Bar charts and line charts as SVG text, small enough to be read in a diff."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

_WIDTH = 720
_FONT = 'font-family="sans-serif" font-size="12"'
_COLOURS = (
    *("#c0392b", "#2471a3", "#1e8449", "#b7950b", "#7d3c98"),
    *("#17a2a2", "#d35400", "#5d6d7e", "#a04060", "#4d5c00"),
)
_NAMES_PX, _ROW_PX, _TOP_PX = 130, 22, 34
_LEFT_PX, _BOTTOM_PX, _LEGEND_PX, _PLOT_PX = 60, 44, 150, 260


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """Return horizontal bars, the shortest first."""
    rows = sorted(values.items(), key=lambda row: row[1])
    room = _WIDTH - _NAMES_PX - 90
    most = max(values.values())
    parts = []
    for number, (name, value) in enumerate(rows):
        y = _TOP_PX + number * _ROW_PX
        colour = _COLOURS[0] if name.startswith("gateway") else _COLOURS[1]
        parts += [
            _text(_NAMES_PX - 8, y + 14, name, "end"),
            f'<rect x="{_NAMES_PX}" y="{y + 3}" width="{room * value / most:.1f}" height="15" '
            f'fill="{colour}"/>',
            _text(_NAMES_PX + room * value / most + 6, y + 14, f"{value:.3g} {unit}"),
        ]
    return _svg(title, _TOP_PX + len(rows) * _ROW_PX + 10, parts)


def lines(
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    logarithmic: bool = False,
) -> str:
    """Return one line for each series of points. `logarithmic` is for the horizontal axis."""
    points = [point for each in series.values() for point in each]
    place = math.log10 if logarithmic else float
    x_of = _scale([place(x) for x, _ in points], _LEFT_PX, _WIDTH - _LEGEND_PX - 10)
    y_of = _scale([0.0, *(y for _, y in points)], _TOP_PX + _PLOT_PX, _TOP_PX)
    bottom, right = _TOP_PX + _PLOT_PX, _WIDTH - _LEGEND_PX - 10
    parts = [
        f'<path d="M{_LEFT_PX} {_TOP_PX}V{bottom}H{right}" fill="none" stroke="#666"/>',
        _text((_LEFT_PX + right) / 2, bottom + 34, axes[0], "middle"),
        _text(_LEFT_PX, _TOP_PX - 8, axes[1], "middle"),
    ]
    for tick in _ticks([x for x, _ in points], logarithmic=logarithmic):
        parts.append(_text(x_of(place(tick)), bottom + 16, f"{tick:g}", "middle"))
        parts.append(_rule(x_of(place(tick)), bottom, x_of(place(tick)), _TOP_PX))
    for tick in _ticks([0.0, *(y for _, y in points)], logarithmic=False):
        parts.append(_text(_LEFT_PX - 6, y_of(tick) + 4, f"{tick:g}", "end"))
        parts.append(_rule(_LEFT_PX, y_of(tick), right, y_of(tick)))
    for number, (name, each) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        way = " ".join(f"{x_of(place(x)):.1f},{y_of(y):.1f}" for x, y in each)
        y = _TOP_PX + 14 + number * 18
        parts += [
            f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{right + 12} {y - 4}h16" stroke="{colour}" stroke-width="3"/>',
            _text(right + 34, y, name),
        ]
    return _svg(title, bottom + _BOTTOM_PX, parts)


def _scale(values: Sequence[float], first: float, last: float) -> Callable[[float], float]:
    """Return the linear function that puts the least value at `first`, the greatest at `last`."""
    low = min(values)
    per = (last - first) / ((max(values) - low) or 1.0)
    return lambda value: first + (value - low) * per


def _ticks(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    """Return round values between the least and the greatest."""
    low, high = min(values), max(values)
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        round_values = [base * 10.0**power for power in powers for base in (1, 2, 5)]
        return [value for value in round_values if low <= value <= high]
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0))
    while (high - low) / step < 4:
        step /= 2
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd" stroke-width="0.6"/>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}" {_FONT} role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{_WIDTH / 2:.0f}" y="18" text-anchor="middle" font-weight="bold">'
        f"{escape(title)}</text>\n" + "\n".join(parts) + "\n</svg>\n"
    )
