"""Native instructions of a request and of an event, counted by valgrind: a figure without noise.

64 callers send at the same instant, as in the workload `unary64`, and everything that the thread
that serves executes is counted, in Python's interpreter and in all libraries. Not counted is the
kernel. The count does not depend on what else the machine does; two runs of the same code differ by
less than 0.2 %. The file is also the program that runs under valgrind.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import random
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.peers import PEERS, Place
from benchmarks.processes import ROOT, CannotRun, program

SYSTEMS = {"bare": "gateway", "whole": "gateway-whole"}
"""Peers that are counted, by the name of their family."""
CALLERS = 64
ROUNDS = 8
_WARM = 3
_EVENTS = 8
"""Events of a stream that are counted; the first one comes with the response's head."""
_PAUSE_MS = 50
"""Time after which the gateway has done what it put off."""
_LONGEST_S = 300.0
_DISTURBED = 1.5
"""Multiple of the median from which on a round does not count."""
_DRAWN_BYTES = 2**20
_YOUNG_OBJECTS, _NEVER = 10_000, 2**30
"""Thresholds of a worker's garbage collector: see `gateway/server/garbage.py`."""

Functions = dict[str, int]
"""Instructions by C function."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """Instructions of one unit, by the stage and the C function in which they are executed."""

    stages: dict[str, float]
    functions: dict[str, float]

    @property
    def total(self) -> float:
        """Instructions of all stages."""
        return sum(self.stages.values())


UNITS = {
    "request": {"ask_REQUEST": "until the backend has it", "ask_END": "its answer"},
    "stream": {
        "chat_REQUEST": "until the backend has it",
        "chat_FIRST": "head and first event",
        "chat_END": "its end",
    },
    "event": {"chat_EVENT": "one more"},
}
"""Stages of each unit, by the name under which they are counted: a request with a small answer, a
streamed one without its events, and one event.
"""


def measure(folder: Path, checkout: Path = ROOT) -> dict[str, dict[str, Instructions]]:
    """Return the instructions of every unit, bare and whole. Raise CannotRun.

    `checkout` is where the gateway is; the callers and the configurations are always ours.
    """
    meter = folder / "meter.so"
    compiler = [program("cc"), "-O2", "-shared", "-fPIC", "-o", str(meter)]
    if subprocess.run([*compiler, str(Path(__file__).with_name("meter.c"))]).returncode != 0:
        raise CannotRun("meter.c does not compile: it needs the headers of valgrind")
    folders = {name: folder / f"{name}-{len(list(folder.iterdir()))}" for name in SYSTEMS}
    running = [
        _under_valgrind(meter, own, str(checkout.absolute()), name) for name, own in folders.items()
    ]
    try:
        for each in running:
            if each.wait(_LONGEST_S) != 0:
                raise CannotRun(f"{each.args!r} failed")
    finally:
        for each in running:
            each.terminate()
    return {name: read(own) for name, own in folders.items()}


def render(
    found: Mapping[str, Mapping[str, Instructions]],
    before: Mapping[str, Mapping[str, Instructions]] | None = None,
) -> str:
    """Return a table of the units and their stages, beside those of another checkout."""
    lines = [
        "| instructions | now | before | ratio | by stage | most in |",
        "|---|--:|--:|--:|---|---|",
    ]
    for name, units in found.items():
        for unit, now in units.items():
            old = before[name][unit] if before else None
            cells = [f"{now.total:,.0f}", f"{old.total:,.0f}" if old else ""]
            cells.append(f"{now.total / old.total:.3f}" if old else "")
            cells.append(", ".join(_stage(stage, now, old) for stage in now.stages))
            most = Counter(now.functions).most_common(5)
            cells.append(", ".join(f"{what} {100 * n / now.total:.0f} %" for what, n in most))
            lines.append(f"| {name}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _stage(stage: str, now: Instructions, old: Instructions | None) -> str:
    said = f"{stage} {now.stages[stage]:,.0f}"
    return f"{said} ({now.stages[stage] - old.stages[stage]:+,.0f})" if old else said


def _under_valgrind(meter: Path, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Run this file under valgrind. Addresses and hashes are the same in each run."""
    folder.mkdir()
    command = [program("setarch"), platform.machine(), "-R", program("valgrind")]
    command += ["--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
    command += [f"--callgrind-out-file={folder}/count", f"--log-file={folder}/log"]
    command += [sys.executable, "-m", "benchmarks.instructions", *arguments]
    same = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(meter)}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **same})


def read(folder: Path) -> dict[str, Instructions]:
    """Return the instructions of the main thread, which serves, as callgrind has written them."""
    rounds: dict[str, list[Functions]] = {}
    for file in folder.glob("count.*"):
        name, functions = _functions(file.read_text())
        if name:
            rounds.setdefault(name, []).append(functions)
    found = {}
    for unit, stages in UNITS.items():
        counts: dict[str, float] = {}
        sums: Counter[str] = Counter()
        for stage, title in stages.items():
            middle = statistics.median(map(_sum, rounds[stage]))
            # The others are disturbed by a collection of all garbage.
            usual = [each for each in rounds[stage] if _sum(each) < _DISTURBED * middle]
            counts[title] = statistics.mean(map(_sum, usual)) / CALLERS
            sums += Counter(sorted(usual, key=_sum)[len(usual) // 2])
        found[unit] = Instructions(counts, {name: n / CALLERS for name, n in sums.items()})
    return found


def _sum(functions: Functions) -> int:
    return sum(functions.values())


def _functions(text: str) -> tuple[str, Functions]:
    """Return the name of a dump, and the instructions by function. The name is empty if the dump
    was not asked for, or is of another thread.
    """
    name = re.search(r"^desc: Trigger: Client Request: (\w+)$", text, re.MULTILINE)
    if name is None or not re.search(r"^thread: 1$", text, re.MULTILINE):
        return "", {}
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    function, skip = "", False
    for line in text.splitlines():
        if line.startswith(("fn=", "cfn=")):
            number, _, said = line.partition("=")[2].partition(" ")
            if said:
                names[number] = said
            if line.startswith("fn="):
                function = number
        elif line.startswith("calls="):
            skip = True  # the next line has what the called function costs
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if not skip:
                counts[function] += int(line.split()[1])
            skip = False
    return name[1], {names.get(number, "?"): n for number, n in counts.items()}


# -- the program under valgrind --------------------------------------------------------------


def _serve(checkout: str, name: str) -> None:
    """Serve requests, and write what each stage of them costs."""
    os.urandom = _draw_from(random.Random(1).randbytes(_DRAWN_BYTES))
    sys.path.insert(0, checkout)
    from benchmarks import lockstep  # imports the gateway of the checkout

    count = ctypes.CDLL(None)

    def document(folder: Path, backend: int) -> str:
        PEERS[SYSTEMS[name]].command(Place.pick(folder, backend))
        return (folder / "config.yaml").read_text()

    def script(script: lockstep.Script) -> None:
        stage, begun = "none", False

        def end_stage(now: str = "none") -> None:
            """Write what this thread, which serves, has executed, and begin another stage."""
            nonlocal stage
            if begun:
                script.run_in_loop(partial(count.meter_take, stage.encode()))
            stage = now

        def pause() -> None:
            count.meter_pass(_PAUSE_MS)
            script.settle()

        for number in range(_WARM + ROUNDS):
            if number == _WARM:
                script.run_in_loop(_collect_as_a_worker)
                script.run_in_loop(count.meter_start)
                begun = True
            script.ask(lambda step: end_stage(f"ask_{step.name}"))
            pause()
            end_stage()
            script.chat(1 + _EVENTS, lambda step: end_stage(f"chat_{step.name}"))
            pause()
            end_stage()

    lockstep.run(script, document, callers=CALLERS)


def _collect_as_a_worker() -> None:
    """Set the garbage collector as a worker does, which visits young objects only, and rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _NEVER, _NEVER)


def _draw_from(drawn: bytes) -> Callable[[int], bytes]:
    """Return a function that draws the same bytes in each run, so that the same requests are
    sampled. It costs about what `os.urandom` does without the kernel.
    """
    at = 0

    def draw(count: int) -> bytes:
        nonlocal at
        at = (at + count) % (_DRAWN_BYTES - count)
        return drawn[at : at + count]

    return draw


if __name__ == "__main__":
    _serve(*sys.argv[1:])
