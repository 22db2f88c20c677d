"""Figures of one run of `report` as a JSON file, from which the page can be written again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.alone import Alone
from benchmarks.cost import Found, Sample
from benchmarks.loop_holds import Hold
from benchmarks.open_streams import Memory
from benchmarks.websockets import Cost
from benchmarks.workloads import WORKLOADS, Run


@dataclass(frozen=True, slots=True)
class RunFile:
    """What was measured, and on which machine and how."""

    where: str
    found: Found
    memory: Memory
    alone: Alone | None

    def write(self, file: Path) -> None:
        """Write everything."""
        file.write_text(json.dumps(asdict(self)))


def read(file: Path) -> RunFile:
    """Return what `write` has written."""
    said = json.loads(file.read_text())
    rows = said["found"]["samples"]
    samples = {
        load: {name: [_sample(load, one) for one in each] for name, each in systems.items()}
        for load, systems in rows.items()
    }
    return RunFile(
        said["where"],
        Found(samples, said["found"]["missing"]),
        {name: _numbered(held) for name, held in said["memory"].items()},
        _alone(said["alone"]) if said["alone"] else None,
    )


def _sample(load: str, said: dict[str, Any]) -> Sample:
    run = Run(WORKLOADS[load], said["run"]["figures"])
    return Sample(said["cpu_us"], said["pss_kib"], run)


def _alone(said: dict[str, Any]) -> Alone:
    return Alone(
        {what: _numbered(costs) for what, costs in said["growth"].items()},
        said["disturbances"],
        said["stalled_kib"],
        Cost(**said["websockets"]) if said["websockets"] else None,
        [Hold(**hold) for hold in said["holds"]],
    )


def _numbered(said: dict[str, Any]) -> dict[int, Any]:
    """Return a mapping by number: JSON has only names."""
    return {int(number): value for number, value in said.items()}
