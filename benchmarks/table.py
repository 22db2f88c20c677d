"""Medians of the rounds, as a table of figures and a table of ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields

from benchmarks.load import Figures

_HEADS = {
    "rps": "requests/s, 64 conn.",
    "single_p50": "p50, 1 conn.",
    "ttft_p50": "TTFT p50",
    "ttft_p99": "TTFT p99",
    "relay_p50": "relay p50",
    "relay_p99": "relay p99",
}


def medians(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(
        **{
            field.name: statistics.median(getattr(one, field.name) for one in rounds)
            for field in fields(Figures)
        }
    )


def render(results: Mapping[str, Sequence[Figures]]) -> str:
    """Return two tables in Markdown: the figures of each peer, and the ratios of the gateway to the
    other peers.
    """
    lines = _table("times in µs", {name: medians(rounds) for name, rounds in results.items()}, 0)
    ratios = {
        f"{ours} / {peer}": medians(
            [_ratio(*pair) for pair in zip(results[ours], results[peer], strict=True)]
        )
        for ours in ("gateway", "gateway-whole")
        for peer in ("aiohttp", "nginx")
        if ours in results and peer in results
    }
    if ratios:
        lines += ["", *_table("ratio", ratios, 2)]
    return "\n".join(lines)


def _table(title: str, rows: Mapping[str, Figures], digits: int) -> list[str]:
    lines = [f"| {title} | " + " | ".join(_HEADS.values()) + " |", "|---|" + "---:|" * len(_HEADS)]
    for name, figures in rows.items():
        cells = [f"{getattr(figures, key):,.{digits}f}".replace(",", " ") for key in _HEADS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _ratio(ours: Figures, peer: Figures) -> Figures:
    """Return each figure of one peer divided by that of another, in the same round."""
    return Figures(**{key: getattr(ours, key) / getattr(peer, key) for key in _HEADS})
