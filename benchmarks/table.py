"""Medians over rounds, as a table and as ratios."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

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
    """The median of each figure."""
    return Figures(
        **{
            field.name: statistics.median(getattr(one, field.name) for one in rounds)
            for field in fields(Figures)
        }
    )


def render(results: Mapping[str, Sequence[Figures]]) -> str:
    """Markdown: the figures of each peer, then what the gateway is to the others."""
    middle = {name: medians(rounds) for name, rounds in results.items()}
    lines = [
        "| | " + " | ".join(_HEADS.values()) + " |",
        "|---|" + "---:|" * len(_HEADS),
    ]
    for name, figures in middle.items():
        cells = [f"{getattr(figures, key):,.0f}".replace(",", " ") for key in _HEADS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("")
    for ours in ("gateway", "gateway-whole"):
        for peer in ("aiohttp", "nginx"):
            if ours in middle and peer in middle:
                lines.append(_ratios(ours, middle[ours], peer, middle[peer]))
    lines += ["", environment()]
    return "\n".join(lines)


def _ratios(name: str, ours: Figures, peer_name: str, peer: Figures) -> str:
    return (
        f"- {name} / {peer_name}: {ours.rps / peer.rps:.2f} x the requests, "
        f"{ours.relay_p50 / peer.relay_p50:.2f} x the relay p50, "
        f"{ours.relay_p99 / peer.relay_p99:.2f} x the relay p99"
    )


def environment() -> str:
    """Where this was measured."""
    model = "unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}. Times in µs."
    )
