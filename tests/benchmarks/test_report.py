"""Text and plots that the benchmarks write."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import batching, cost, disturbances, report
from benchmarks.alone import Alone
from benchmarks.cost import Found, Sample
from benchmarks.loop_holds import Hold
from benchmarks.peers import PEERS
from benchmarks.plots import bars, lines
from benchmarks.websockets import Cost
from benchmarks.workloads import WORKLOADS, Run

_UNARY, _BURST = WORKLOADS["unary64"], WORKLOADS["burst"]


def sample(cpu_us: float, ms: float = 1.0, *, burst: bool = False) -> Sample:
    times = {"p50": ms * 1e3, "p99": ms * 2e3, "cdf": [ms * 1e3] * 10}
    names = ("ttfb", "cold", "total", "relay")
    figures = {"rps": 1e6 / cpu_us, **{f"{name}_us": times for name in names}}
    return Sample(cpu_us, 30 * 1024, Run(_BURST if burst else _UNARY, figures))


@pytest.fixture
def found() -> Found:
    bare = {
        "nginx": [sample(10.0), sample(20.0), sample(30.0)],
        "gateway": [sample(20.0), sample(80.0), sample(60.0)],
    }
    burst = {name: [sample(100.0, burst=True)] for name in bare}
    return Found({"unary64": bare, "burst": burst}, {"envoy": "not installed"})


def test_a_ratio_is_the_median_of_the_ratios_of_each_round(found: Found) -> None:
    said = cost.render(found, [_UNARY], list(PEERS.values()))
    assert "| nginx | 20.0 | 15.0–25.0 | 0.50 | 0.38–0.50 | gateway |" in said  # noqa: RUF001
    assert "envoy was not measured: not installed" in said


def test_a_gateway_is_compared_with_that_of_the_other_checkout(tmp_path: Path) -> None:
    peers = cost.against([PEERS["gateway"], PEERS["nginx"]], tmp_path)
    assert [peer.name for peer in peers] == ["other gateway", "gateway", "nginx"]
    assert peers[0].root == tmp_path
    rows = dict.fromkeys(peer.name for peer in peers)
    assert [cost.reference(peer, peers, rows) for peer in peers] == [
        *("other gateway", "other gateway", "gateway")
    ]


def test_the_page_has_every_family_that_was_measured_and_its_plots(found: Found) -> None:
    memory = {
        name: dict.fromkeys((0, 500, 1000, 2000, 4000), 4000) for name in ("nginx", "gateway")
    }
    text, plots = report.render(found, memory, [_UNARY, _BURST], list(PEERS.values()), "a machine")
    assert "## Forwarding only" in text
    assert "## The same policies" not in text
    assert {f"images/performance-{name}.svg" for name in plots} == set(
        re.findall(r"\]\((images/[\w-]+\.svg)\)", text)
    )
    assert "bare-ttfb-burst" in plots
    for svg in plots.values():
        ElementTree.fromstring(svg)  # noqa: S314


def test_what_the_gateway_promises_alone_is_on_the_page_and_among_the_bars(found: Found) -> None:
    own = Alone(
        {
            "routes": {1: 70.0, 1000: 77.0},
            "workers": {1: 70.0, 2: 77.0},
            "threads of Envoy": {1: 30.0, 2: 31.5},
        },
        {"nothing else": [700.0], **{name: [735.0] for name in disturbances.NAMES}},
        60.0,
        Cost(10.0, 100.0, 5000, 20.0),
        [Hold("translated", "keys", "1 MiB", 90.0, 40.0, 200)],
    )
    text, plots = report.render(found, {}, [_UNARY], list(PEERS.values()), "a machine", own)
    assert "1: 70.0 (1.00); 1,000: 77.0 (1.10)" in text
    assert "| an open dashboard | 735 | 1.05 |" in text
    assert "| Memory of a stalled reader | ≤ 96 KiB | 60.0 KiB | met |" in text
    assert "keys, translated, 1 MiB | ≤ 50 ms of CPU | 40.0 ms of CPU | met |" in text
    assert "two workers on one core / of one worker (threads of Envoy 1.05 ×)" in text  # noqa: RUF001
    assert "growth" in plots


def test_what_was_not_measured_alone_is_said_so(found: Found) -> None:
    own = Alone({}, {}, None, None, ())
    text, _ = report.render(found, {}, [_UNARY], list(PEERS.values()), "a machine", own)
    assert "| Memory of a stalled reader | ≤ 96 KiB |  | not measured |" in text


def test_a_system_that_fails_under_a_load_leaves_it_and_is_named(found: Found) -> None:
    del found.samples["unary64"]["gateway"]
    found.missing["gateway, small answers, 64 connections,"] = "no end after 22 s"
    text, _ = report.render(found, {}, [_UNARY, _BURST], list(PEERS.values()), "a machine")
    assert "gateway, small answers, 64 connections, was not measured: no end after 22 s" in text
    assert "| nginx | 20.0 |" in text


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the page. What is written goes there, and into a copy of the README."""
    for name in ("PAGE", "README"):
        file: Path = getattr(report, name)
        (tmp_path / file.name).write_text(file.read_text())
        monkeypatch.setattr(report, name, tmp_path / file.name)
    (tmp_path / "images").mkdir()
    return tmp_path / report.PAGE.name


def test_writing_leaves_the_prose_of_the_page(page: Path) -> None:
    report.write("figures of today", {"bare-memory": "<svg/>"})
    report.write("figures of tomorrow", {"bare-memory": "<svg/>"})
    text = page.read_text()
    assert "## How to repeat it" in text
    assert "figures of today" not in text
    assert text.count("figures of tomorrow") == 1
    assert (page.parent / "images/performance-bare-memory.svg").read_text() == "<svg/>"


def test_the_readme_has_the_first_figures_of_the_page() -> None:
    written = report.PAGE.read_text().partition("<!-- Written by `make bench`. -->")[2]
    figures = report.first_figures(written)
    assert figures.startswith("| | nginx |")
    assert "](docs/images/performance-" in figures
    assert figures in report.README.read_text()


def test_the_longest_bar_fills_the_plot_and_names_are_escaped() -> None:
    drawn = bars("a < b", "µs", {"a&b": 2.0, "c": 4.0})
    widths = [float(found) for found in re.findall(r'width="([\d.]+)" height="15"', drawn)]
    assert widths == [250.0, 500.0]
    assert "a&amp;b" in drawn
    assert "a &lt; b" in drawn


def test_a_line_of_one_point_is_drawn() -> None:
    ElementTree.fromstring(lines("t", ("x", "y"), {"a": [(1.0, 1.0)]}, logarithmic=True))  # noqa: S314


def test_a_command_replaces_its_own_part_of_the_page_alone(page: Path) -> None:
    end = "<!-- End of what is written. -->"
    old = "<!-- Written by `{}`. -->\nold\n" + end
    page.write_text(f"a\n{old.format('make bench')}\nb\n{old.format('x')}\nc")
    cells = [batching.Cell(size, 10, 20.0 / size, size, 0.1, 1.0, 270 / size) for size in (1, 4)]
    report.write_part("x", "how", batching.render(cells), {})
    report.write("new", {})
    text = page.read_text()
    assert "old" not in text
    assert text.index("a\n") < text.index("new") < text.index("b\n") < text.index("75 %")
    assert text.endswith(f"{end}\nc")
