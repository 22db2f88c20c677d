"""`python -m benchmarks`: comparison with the peers; `cost`: CPU time
for each request and event, in turns; `memory`: memory of slow readers; `costs`:
auth, limits and telemetry in isolation; `chain`: the same in a running gateway; `balancing`: cost
and cache hits of the policies; `translation`: cost of other dialects; `websockets`: cost of a
message and of a connection; `journals`: cost of keeping streams; `cuts`: streams whose clients are
cut at random and resume; `compression`: cost and savings of codings; `holds`: how long a request
body holds the event loop."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from benchmarks import (
    balancing,
    chain,
    compression,
    cost,
    costs,
    cut_streams,
    journals,
    loop_holds,
    slow_readers,
    translation,
    websockets,
)
from benchmarks.answers import WrongAnswer, check
from benchmarks.load import Figures, Load
from benchmarks.machine import OtherWork, description
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import (
    CannotRun,
    compile_tools,
    cores,
    free_ports,
    raise_file_limit,
    running,
)
from benchmarks.table import render
from benchmarks.tokens import bearer
from benchmarks.workloads import WORKLOADS

_TABLE = ("nginx", "aiohttp", "gateway", "gateway-whole")
_LOADS = ("unary64", "unary1", "flood", "paced", "burst")


def main() -> int:
    """Run the chosen benchmark. Return 1 if a peer answers wrongly or cannot be run."""
    arguments = _parser().parse_args()
    others = OtherWork()
    results: Mapping[str, object]
    raise_file_limit()
    try:
        with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
            folder = Path(name)
            # nginx's workers run as another user, who must be able to enter the folder.
            folder.chmod(0o711)
            mockllm, sseload = compile_tools(folder)
            if arguments.what == "costs":
                results = costs.measure(folder, cores()[1])
                said = costs.render(results)
            elif arguments.what == "cost":
                peers = arguments.peers or [PEERS["gateway"], PEERS["gateway-whole"]]
                if arguments.against:
                    peers = cost.against(peers, arguments.against)
                spent = cost.measure(
                    peers,
                    arguments.loads,
                    (mockllm, sseload),
                    folder,
                    rounds=arguments.rounds,
                    seconds=arguments.seconds,
                )
                results, said = asdict(spent), cost.render(spent, arguments.loads, peers)
            elif arguments.what == "chain":
                parts = chain.measure(mockllm, sseload, folder, arguments.rounds, arguments.seconds)
                results, said = parts, chain.render(parts)
            elif arguments.what == "balancing":
                picks, trace = balancing.measure()
                results = {"picks": picks, "trace": trace}
                said = balancing.render(picks, trace)
            elif arguments.what == "compression":
                codings = compression.measure()
                results = {name: asdict(cost) for name, cost in codings.items()}
                said = compression.render(codings)
            elif arguments.what == "translation":
                dialects = translation.measure()
                results, said = dialects, translation.render(dialects)
            elif arguments.what == "holds":
                holds = loop_holds.measure(arguments.rounds)
                results = {"holds": [asdict(hold) for hold in holds]}
                said = loop_holds.render(holds)
            elif arguments.what == "journals":
                kept = journals.measure(
                    mockllm, sseload, folder, arguments.rounds, arguments.seconds
                )
                results, said = kept, journals.render(kept)
            elif arguments.what == "cuts":
                outcome = cut_streams.measure(
                    mockllm, folder, arguments.streams, arguments.events, arguments.every_ms
                )
                results, said = asdict(outcome), str(outcome)
            elif arguments.what == "websockets":
                sockets = websockets.measure(folder, arguments.rounds)
                results = {name: [asdict(one) for one in each] for name, each in sockets.items()}
                said = websockets.render(sockets)
            elif arguments.what == "memory":
                memory = slow_readers.measure(mockllm, folder, arguments.readers)
                results = asdict(memory)
                said = str(memory)
            else:
                load = Load(sseload, cores()[1], arguments.seconds)
                peers = arguments.peers or [PEERS[name] for name in _TABLE]
                rounds = _take_turns(peers, arguments.rounds, load, mockllm, folder)
                results = {name: [asdict(one) for one in found] for name, found in rounds.items()}
                said = render(rounds)
    except (WrongAnswer, CannotRun) as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 1
    where = f"{description()}; others used {others.percent_of_a_core():.0f} % of a core"
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": where, "results": results}, indent=2))
    print(f"{said}\n\n{where}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    whats = [
        "table",
        "cost",
        "memory",
        "costs",
        "chain",
        "balancing",
        "compression",
        "translation",
        "websockets",
    ]
    whats += ["journals", "cuts", "holds"]
    parser.add_argument("what", nargs="?", choices=whats, default="table")
    parser.add_argument("--rounds", type=_at_least(1), default=3, help="of each peer (%(default)s)")
    # A stream takes one second, and the first fifth of the time is not counted.
    parser.add_argument(
        "--seconds", type=_seconds, default=4, help="of each measurement (%(default)s)"
    )
    parser.add_argument(
        "--peers", type=_names_in(PEERS), help=f"which, and in which order, of {','.join(PEERS)}"
    )
    parser.add_argument(
        "--loads",
        type=_names_in(WORKLOADS),
        default=[WORKLOADS[name] for name in _LOADS],
        help=f"for cost, of {','.join(WORKLOADS)} ({','.join(_LOADS)})",
    )
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="for cost: another checkout to compare with"
    )
    parser.add_argument(
        "--readers", type=_at_least(1), default=500, help="for memory (%(default)s)"
    )
    parser.add_argument("--streams", type=_at_least(1), default=2000, help="for cuts (%(default)s)")
    parser.add_argument(
        "--events", type=_at_least(1), default=60, help="of each, for cuts (%(default)s)"
    )
    parser.add_argument("--every-ms", type=_at_least(1), default=500, help="for cuts (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there, too")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def _seconds(text: str) -> float:
    value = float(text)
    if value < 0.2:
        raise argparse.ArgumentTypeError(f"{value} is less than 0.2")
    return value


_Named = TypeVar("_Named")


def _names_in(known: Mapping[str, _Named]) -> Callable[[str], list[_Named]]:
    def chosen(text: str) -> list[_Named]:
        names = list(dict.fromkeys(text.split(",")))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return [known[name] for name in names]

    return chosen


def _take_turns(
    peers: Sequence[Peer], rounds: int, load: Load, mockllm: Path, folder: Path
) -> dict[str, list[Figures]]:
    results: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            print(f"round {number + 1} of {rounds}: {peer.name}", file=sys.stderr, flush=True)
            results[peer.name].append(_round(peer, load, mockllm, folder))
    return results


def _round(peer: Peer, load: Load, mockllm: Path, folder: Path) -> Figures:
    ours, theirs = cores()
    backend, port = free_ports(2)
    own = folder / peer.name
    own.mkdir(exist_ok=True)
    own.chmod(0o711)
    log = own / "log"
    command = peer.command(own, port, backend)
    token = bearer() if peer.token else None
    with (
        running([str(mockllm), str(backend)], backend, core=theirs, log=log),
        running(command, port, core=ours, log=log, stdout=own / "access.log"),
    ):
        try:
            check(port, backend, token)
            return load.measure(port, token)
        except WrongAnswer as exc:
            raise WrongAnswer(f"{peer.name}: {exc}") from exc


if __name__ == "__main__":
    sys.exit(main())
