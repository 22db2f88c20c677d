"""Figures of a run that are kept in a file."""

from __future__ import annotations

from pathlib import Path

from benchmarks import run_file
from benchmarks.alone import Alone
from benchmarks.cost import Found, Sample
from benchmarks.loop_holds import Hold
from benchmarks.run_file import RunFile
from benchmarks.websockets import Cost
from benchmarks.workloads import WORKLOADS, Run


def test_what_was_measured_is_read_as_it_was_written(tmp_path: Path) -> None:
    sample = Sample(20.0, 30 * 1024, Run(WORKLOADS["unary64"], {"rps": 5.0}))
    own = Alone(
        {"routes": {1: 70.0, 1000: 77.0}},
        {"nothing else": [700.0]},
        60.0,
        Cost(10.0, 100.0, 5000, 20.0),
        [Hold("translated", "keys", "1 MiB", 90.0, 40.0, 200)],
    )
    found = Found({"unary64": {"gateway": [sample]}}, {"nginx": "not installed"})
    for alone in (own, None):
        run = RunFile("a machine", found, {"gateway": {0: 30_000, 500: 40_000}}, alone)
        run.write(tmp_path / "run.json")
        assert run_file.read(tmp_path / "run.json") == run
