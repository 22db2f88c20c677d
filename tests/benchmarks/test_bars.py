"""Bars: figures of a run beside what they are to be."""

from __future__ import annotations

import pytest

from benchmarks import bars
from benchmarks.bars import Bar
from benchmarks.cost import Found, Sample
from benchmarks.workloads import WORKLOADS, Run


def samples(load: str, *cpu_us: float) -> list[Sample]:
    return [
        Sample(each, 30 * 1024, Run(WORKLOADS[load], {"total_us": {"p50": 10 * each}}))
        for each in cpu_us
    ]


@pytest.fixture
def found() -> Found:
    return Found(
        {
            "unary64": {
                "nginx": samples("unary64", 10, 30, 20),
                "vllm-router": samples("unary64", 40, 160, 60),
                "gateway": samples("unary64", 20, 100, 40),
            },
            "unary1": {
                "envoy": samples("unary1", 50),
                "gateway": samples("unary1", 80),
                "gateway-whole": samples("unary1", 90),
            },
        }
    )


def bar_named(found: Found, start: str) -> Bar:
    memory = {"gateway": {0: 30_000, 500: 40_000, 9750: 177_000}}
    (bar,) = [each for each in bars.bars(found, memory, None) if each.what.startswith(start)]
    return bar


def test_a_bar_is_met_if_the_median_of_the_ratios_reaches_it(found: Found) -> None:
    assert bar_named(found, "CPU of `vllm-router`").figure.startswith("1.60 ")
    assert bar_named(found, "CPU of `vllm-router`").met is True
    assert bar_named(found, "p50 of `gateway`").figure.startswith("1.60 ")
    assert bar_named(found, "p50 of `gateway`").met is False


def test_a_bar_without_a_figure_is_not_measured(found: Found) -> None:
    assert bar_named(found, "p50 of `gateway-whole`").met is None
    said = bars.render(bars.bars(found, {}, None), bars.best_peers(found))
    assert said.count("| not measured |") > 5
    assert "1 of 2 bars are met." in said


def test_memory_is_that_of_a_stream_when_most_are_open(found: Found) -> None:
    assert bar_named(found, "Memory of an idle stream, `gateway`").figure == "15.1 KiB"
    assert bar_named(found, "Streams open at once").figure.startswith("9,750")
    assert bar_named(found, "Streams open at once").met is not True


def test_the_best_peer_is_the_one_that_spends_least(found: Found) -> None:
    assert ("small answers, 64 connections", "gateway", "`nginx` | 0.50") in bars.best_peers(found)
    assert ("small answers, 1 connection", "gateway-whole", " | ") in bars.best_peers(found)


def test_a_bar_in_units_shows_the_best_peer_beside_it() -> None:
    memory = {
        "nginx": {0: 25_000, 1000: 42_000},
        "haproxy": {0: 11_000, 1000: 16_000},
        "gateway": {0: 30_000, 1000: 40_000},
    }
    found = Found(
        {"paced2000": {"nginx": samples("paced2000", 13), "envoy": samples("paced2000", 25)}}
    )
    shown = {each.what: each.best_peer for each in bars.bars(found, memory, None)}
    assert shown["Memory of an idle stream, `gateway`"] == "`haproxy`: 5.0 KiB"
    assert shown["CPU of `gateway`, 2 000 streams of 20 events/s"] == "`nginx`: 52.0 % of a core"
    assert shown["Relay p99 of `gateway`, 2 000 streams of 20 events/s"] == ""
