"""`python -m benchmarks`: the table; `python -m benchmarks memory`: what slow readers cost."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import slow_readers
from benchmarks.load import Figures, Load, WrongAnswer
from benchmarks.peers import PEERS, Peer, bearer
from benchmarks.processes import compile_tools, cores, free_port, running
from benchmarks.table import render


def main() -> int:
    """Run what is asked for. 1 if a peer answered wrongly."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["table", "memory"], default="table")
    parser.add_argument("--rounds", type=int, default=3, help="of each peer, taking turns")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--peers", default=",".join(PEERS), help="which, and in which order")
    parser.add_argument("--readers", type=int, default=500, help="for memory")
    parser.add_argument("--json", type=Path, help="write every round's figures there, too")
    arguments = parser.parse_args()
    peers = [PEERS[name] for name in arguments.peers.split(",")]
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        mockllm, sseload = compile_tools(folder)
        if arguments.what == "memory":
            print(slow_readers.measure(mockllm, folder, arguments.readers))
            return 0
        _, theirs = cores()
        load = Load(sseload, theirs, arguments.seconds)
        results: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
        try:
            for number in range(arguments.rounds):
                for peer in peers:
                    print(f"round {number + 1}: {peer.name}", file=sys.stderr, flush=True)
                    results[peer.name].append(_round(peer, load, mockllm, folder))
        except WrongAnswer as exc:
            print(exc, file=sys.stderr)
            return 1
    if arguments.json:
        rounds = {name: [asdict(one) for one in found] for name, found in results.items()}
        arguments.json.write_text(json.dumps(rounds, indent=2))
    print(render(results))
    return 0


def _round(peer: Peer, load: Load, mockllm: Path, folder: Path) -> Figures:
    ours, theirs = cores()
    backend, port = free_port(), free_port()
    own = folder / peer.name
    own.mkdir(exist_ok=True)
    log = own / "log"
    with (
        running([str(mockllm), str(backend)], backend, core=theirs, log=log),
        running(
            peer.command(own, port, backend), port, core=ours, log=log, stdout=own / "access.log"
        ),
    ):
        return load.measure(port, bearer() if peer.token else None)


if __name__ == "__main__":
    sys.exit(main())
