"""CPU time of the gateway for a request as its work grows: with more routes, limits or workers.
That of nginx and Envoy with more workers or threads is beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import cost
from benchmarks.peers import PEERS, PLENTY, Peer, Place, changed, envoy, nginx
from benchmarks.workloads import WORKLOADS

Growth = Mapping[str, Mapping[int, float]]
"""µs of CPU for a request, by what grows and its number."""
_ROUNDS = 3
_Make = Callable[[int, str], Peer]
"""Function that returns the peer with so many of what grows, under a name."""


def measure(tools: tuple[Path, Path], folder: Path, seconds: float) -> Growth:
    """Return the costs, each the median of some rounds, in which all gateways take turns. A peer
    that is not installed has none.
    """
    growth = {
        what: _one(what, numbers, make, tools, folder, seconds)
        for what, (numbers, make) in _THINGS.items()
    }
    return {what: costs for what, costs in growth.items() if len(costs) > 1}


def ratio(growth: Growth, what: str, number: int) -> float:
    """Return the cost at a number as a multiple of that at the least."""
    costs = growth[what]
    return costs[number] / costs[min(costs)]


def series(growth: Growth) -> dict[str, list[tuple[float, float]]]:
    """Return the costs as points: the number and µs."""
    return {
        what: [(float(number), cpu_us) for number, cpu_us in costs.items()]
        for what, costs in growth.items()
    }


def render(growth: Growth) -> str:
    """Return the costs as a table."""
    lines = ["| | µs of CPU a request |", "|---|---|"]
    for what, costs in growth.items():
        said = (
            f"{number:,}: {cpu_us:.1f} ({ratio(growth, what, number):.2f})"
            for number, cpu_us in costs.items()
        )
        lines.append(f"| {what} | {'; '.join(said)} |")
    return "\n".join(lines)


def _one(
    what: str,
    numbers: tuple[int, ...],
    make: _Make,
    tools: tuple[Path, Path],
    folder: Path,
    seconds: float,
) -> dict[int, float]:
    names = {number: f"{what}: {number:,}" for number in numbers}
    peers = [make(number, name) for number, name in names.items()]
    load = WORKLOADS["unary64"]
    found = cost.measure(peers, [load], tools, folder, rounds=_ROUNDS, seconds=seconds)
    samples = found.samples[load.name]
    return {
        number: statistics.median(sample.cpu_us for sample in samples[name])
        for number, name in names.items()
        if name in samples
    }


def _gateway(change: Callable[[int, dict[str, Any]], None], number: int, name: str) -> Peer:
    return changed(PEERS["gateway-whole"], name, partial(change, number))


def _workers(number: int, name: str) -> Peer:
    def change(config: dict[str, Any]) -> None:
        config["server"]["workers"] = number

    return replace(changed(PEERS["gateway-whole"], name, change), workers=number)


def _other(command: Callable[[Place, int], list[str]], number: int, name: str) -> Peer:
    return Peer(name, lambda place: command(place, number))


def _routes(number: int, config: dict[str, Any]) -> None:
    """Add routes that no request matches, each with a path of its own."""
    (main,) = config["routes"]
    more = [{**main, "name": f"r{n}", "path": f"/tenants/{n}/"} for n in range(1, number)]
    config["routes"] = [*more, main]


def _limits(number: int, config: dict[str, Any]) -> None:
    """Apply so many limits to a request."""
    names = [f"l{n}" for n in range(number)]
    one = {"key": "subject", "requests": f"{PLENTY}/minute"}
    config["limits"] = dict.fromkeys(names, one)
    config["routes"][0]["limits"] = names


_THINGS: dict[str, tuple[tuple[int, ...], _Make]] = {
    "routes": ((1, 10, 100, 1000), partial(_gateway, _routes)),
    "limits": ((1, 2, 4, 8), partial(_gateway, _limits)),
    # Both on the same core, as the load and the backend have the other.
    "workers": ((1, 2), _workers),
    "workers of nginx": ((1, 2), partial(_other, nginx)),
    "threads of Envoy": ((1, 2), partial(_other, envoy)),
}
