"""`python -m benchmarks`: `report`, the comparison with all peers.

`cost`: CPU time for each request and event, in turns. `walk`: which files a streamed chat passes.
`counts`: bytecode instructions for each request and event. `instructions`: native ones. `memory`:
memory of slow readers. `costs`: auth, limits and telemetry in isolation. `chain`: the same in a
running gateway. `balancing`: cost and cache hits of the policies. `translation`: cost of other
dialects. `hooks`: cost of hooks for an event. `prompt_audit`: cost of the prompt audit for an event
and a record. `websockets`: cost of a message and of a connection. `journals`: cost of keeping
streams. `cuts`: streams whose clients are cut at random and resume. `kept`: many kept streams on
one worker. `broadcast`: latency and memory of a channel with many followers. `compression`: cost
and savings of codings. `batching`: savings and delay of micro-batching. `holds`: how long a request
body holds the event loop. `keys`: exactness and cost with many keys and budgets over two gateways
and a Redis.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks import (
    alone,
    balancing,
    batching,
    broadcast,
    chain,
    compression,
    cost,
    costs,
    counts,
    cut_streams,
    hooks,
    instructions,
    journals,
    kept_streams,
    loop_holds,
    many_keys,
    open_streams,
    prompt_audit,
    report,
    run_file,
    slow_readers,
    translation,
    walk,
    websockets,
)
from benchmarks.answers import WrongAnswer
from benchmarks.machine import OtherWork, description
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import ROOT, CannotRun, compile_tools, cores, raise_file_limit
from benchmarks.progress import tried
from benchmarks.run_file import RunFile
from benchmarks.workloads import WORKLOADS, Workload

_RUN = ROOT / ".venv/bench.json"
_LOADS = ("unary64", "unary1", "flood", "paced", "burst")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a benchmark works with."""

    mockllm: Path
    sseload: Path
    folder: Path
    """Private folder, which is deleted afterwards."""


Outcome = tuple[Mapping[str, object], str]
"""Results for a JSON file, and text to print."""


def main() -> int:
    """Run the chosen benchmark. Return 1 if a peer answers wrongly or cannot be run."""
    arguments = _parser().parse_args()
    others = OtherWork()
    raise_file_limit()
    try:
        with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
            folder = Path(name)
            # nginx's workers run as another user, who must be able to enter the folder.
            folder.chmod(0o711)
            tools = Tools(*compile_tools(folder), folder)
            results, said = BENCHMARKS[arguments.what](arguments, tools)
    except (WrongAnswer, CannotRun) as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 1
    where = f"{description()}; others used {others.percent_of_a_core():.0f} % of a core"
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": where, "results": results}, indent=2))
    print(f"{said}\n\n{where}")
    return 0


def _report(arguments: Namespace, tools: Tools) -> Outcome:
    peers = arguments.peers or list(PEERS.values())
    workloads = arguments.loads or list(WORKLOADS.values())
    if arguments.again:
        run = run_file.read(arguments.run)
    else:
        run = _measured(arguments, tools, peers, workloads)
        run.write(arguments.run)
    text, plots = report.render(run.found, run.memory, workloads, peers, run.where, run.alone)
    if arguments.write:
        report.write(text, plots)
    return asdict(run), text


def _measured(
    arguments: Namespace, tools: Tools, peers: Sequence[Peer], workloads: Sequence[Workload]
) -> RunFile:
    others = OtherWork()
    programs = (tools.mockllm, tools.sseload)
    found = cost.measure(
        peers,
        workloads,
        programs,
        tools.folder,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
    )
    held = tried("open streams", lambda: open_streams.measure(peers, programs, tools.folder))
    own = None if arguments.peers else alone.measure(programs, tools.folder, arguments.seconds)
    how = f"{arguments.rounds} rounds of {arguments.seconds:g} s"
    where = f"{description()}; others used {others.percent_of_a_core():.0f} % of a core; {how}"
    return RunFile(where, found, held or {}, own)


def _cost(arguments: Namespace, tools: Tools) -> Outcome:
    peers = arguments.peers or [PEERS["gateway"], PEERS["gateway-whole"]]
    if arguments.against:
        peers = cost.against(peers, arguments.against)
    workloads = arguments.loads or [WORKLOADS[name] for name in _LOADS]
    found = cost.measure(
        peers,
        workloads,
        (tools.mockllm, tools.sseload),
        tools.folder,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
    )
    return asdict(found), cost.render(found, workloads, peers)


def _walk(arguments: Namespace, _: Tools) -> Outcome:
    walks = walk.measure()
    if arguments.update:
        walk.show(walks)
    return {name: asdict(each) for name, each in walks.items()}, walk.render(walks)


def _counts(arguments: Namespace, _: Tools) -> Outcome:
    found = counts.measure()
    said = counts.render(found, counts.kept())
    if arguments.update:
        counts.keep(found)
    return {name: asdict(each) for name, each in found.items()}, said


def _instructions(arguments: Namespace, tools: Tools) -> Outcome:
    found = instructions.measure(tools.folder)
    before = instructions.measure(tools.folder, arguments.against) if arguments.against else None
    results = {
        name: {unit: asdict(each) for unit, each in units.items()} for name, units in found.items()
    }
    return results, instructions.render(found, before)


def _memory(arguments: Namespace, tools: Tools) -> Outcome:
    memory = slow_readers.measure(tools.mockllm, tools.folder, arguments.readers)
    return asdict(memory), str(memory)


def _costs(_: Namespace, tools: Tools) -> Outcome:
    found = costs.measure(tools.folder, cores()[1])
    return found, costs.render(found)


def _chain(arguments: Namespace, tools: Tools) -> Outcome:
    found = chain.measure(
        tools.mockllm, tools.sseload, tools.folder, arguments.rounds, arguments.seconds
    )
    return found, chain.render(found)


def _balancing(_: Namespace, __: Tools) -> Outcome:
    picks, trace = balancing.measure()
    return {"picks": picks, "trace": trace}, balancing.render(picks, trace)


def _batching(arguments: Namespace, tools: Tools) -> Outcome:
    others = OtherWork()
    cells = batching.measure(
        tools.mockllm, tools.sseload, tools.folder, arguments.rounds, arguments.seconds
    )
    where = f"{description()}; others used {others.percent_of_a_core():.0f} % of a core"
    table, plots = batching.render(cells), batching.plots(cells)
    if arguments.write:
        rounds = f"{arguments.rounds} rounds of {arguments.seconds:g} s for each row"
        how = f"Measured on {where}; {rounds}."
        report.write_part("python -m benchmarks batching --write", how, table, plots)
    return {"cells": [asdict(cell) for cell in cells]}, table


def _compression(_: Namespace, __: Tools) -> Outcome:
    codings = compression.measure()
    return {name: asdict(each) for name, each in codings.items()}, compression.render(codings)


def _prompt_audit(_: Namespace, __: Tools) -> Outcome:
    of_audit = prompt_audit.measure()
    return of_audit, prompt_audit.render(of_audit)


def _hooks(_: Namespace, __: Tools) -> Outcome:
    of_hooks = hooks.measure()
    return of_hooks, hooks.render(of_hooks)


def _translation(_: Namespace, __: Tools) -> Outcome:
    dialects = translation.measure()
    return dialects, translation.render(dialects)


def _websockets(arguments: Namespace, tools: Tools) -> Outcome:
    found = websockets.measure(tools.folder, arguments.rounds)
    results = {name: [asdict(one) for one in each] for name, each in found.items()}
    return results, websockets.render(found)


def _journals(arguments: Namespace, tools: Tools) -> Outcome:
    found = journals.measure(
        tools.mockllm, tools.sseload, tools.folder, arguments.rounds, arguments.seconds
    )
    return found, journals.render(found)


def _cuts(arguments: Namespace, tools: Tools) -> Outcome:
    found = cut_streams.measure(
        tools.mockllm, tools.folder, arguments.streams, arguments.events, arguments.every_ms
    )
    return asdict(found), str(found)


def _kept(arguments: Namespace, tools: Tools) -> Outcome:
    found = kept_streams.measure(
        tools.mockllm, tools.folder, arguments.kept, max(arguments.seconds, 12.0)
    )
    return {"stores": [asdict(each) for each in found]}, kept_streams.render(found)


def _broadcast(arguments: Namespace, tools: Tools) -> Outcome:
    found = broadcast.measure(
        tools.sseload, tools.folder, arguments.followers, max(arguments.seconds, 10.0)
    )
    return {"counts": [asdict(each) for each in found]}, broadcast.render(found)


def _holds(arguments: Namespace, _: Tools) -> Outcome:
    found = loop_holds.measure(arguments.rounds)
    return {"holds": [asdict(each) for each in found]}, loop_holds.render(found)


def _keys(arguments: Namespace, tools: Tools) -> Outcome:
    found = many_keys.measure(tools.folder, arguments.keys, arguments.teams, arguments.requests)
    return {"keys": many_keys.document(found)}, many_keys.render(found)


BENCHMARKS: dict[str, Callable[[Namespace, Tools], Outcome]] = {
    "report": _report,
    "cost": _cost,
    "walk": _walk,
    "counts": _counts,
    "instructions": _instructions,
    "memory": _memory,
    "costs": _costs,
    "chain": _chain,
    "balancing": _balancing,
    "batching": _batching,
    "compression": _compression,
    "translation": _translation,
    "hooks": _hooks,
    "prompt_audit": _prompt_audit,
    "websockets": _websockets,
    "journals": _journals,
    "cuts": _cuts,
    "kept": _kept,
    "broadcast": _broadcast,
    "holds": _holds,
    "keys": _keys,
}
"""Benchmarks by name; the first is the default."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=list(BENCHMARKS), default=next(iter(BENCHMARKS)))
    parser.add_argument("--rounds", type=_at_least(1), default=3, help="of each peer (%(default)s)")
    parser.add_argument(
        "--seconds", type=_seconds, default=4, help="of each measurement (%(default)s)"
    )
    parser.add_argument(
        "--peers", type=_names_in(PEERS), help=f"which, and in which order, of {','.join(PEERS)}"
    )
    parser.add_argument(
        "--loads",
        type=_names_in(WORKLOADS),
        help=f"which, of {','.join(WORKLOADS)} (report: all, cost: {','.join(_LOADS)})",
    )
    parser.add_argument(
        "--write", action="store_true", help="for report and batching: write docs/performance.md"
    )
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="for cost and instructions: another checkout"
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="for counts and walk: keep them for the tests to compare with",
    )
    parser.add_argument(
        "--readers", type=_at_least(1), default=500, help="for memory (%(default)s)"
    )
    parser.add_argument("--streams", type=_at_least(1), default=2000, help="for cuts (%(default)s)")
    parser.add_argument(
        "--events", type=_at_least(1), default=60, help="of each, for cuts (%(default)s)"
    )
    parser.add_argument(
        "--followers", type=_at_least(1), default=10_000, help="for broadcast (%(default)s)"
    )
    parser.add_argument("--kept", type=_at_least(1), default=10_000, help="for kept (%(default)s)")
    parser.add_argument(
        "--keys", type=_at_least(11), default=1_000_000, help="for keys (%(default)s)"
    )
    parser.add_argument("--teams", type=_at_least(2), default=10_000, help="for keys (%(default)s)")
    parser.add_argument(
        "--requests", type=_at_least(100), default=5_000, help="for keys (%(default)s)"
    )
    parser.add_argument("--every-ms", type=_at_least(1), default=500, help="for cuts (%(default)s)")
    parser.add_argument(
        "--run", type=Path, default=_RUN, metavar="FILE", help="of report: keeps all (%(default)s)"
    )
    parser.add_argument(
        "--again", action="store_true", help="for report: write the page from what --run has kept"
    )
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


if __name__ == "__main__":
    sys.exit(main())
