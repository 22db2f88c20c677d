"""Instructions that a request and an event cost, counted by file: a figure without noise.

Counted are bytecode instructions of the gateway, of its libraries and of the standard library in
the thread that serves, and calls into C. Time says the same only on a quiet machine. What C code
does (parsers, JSON, the kernel) is not counted: `benchmarks cost` measures it.

Counts depend on the minor version of Python. They are kept for one: `counts.json`.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import lockstep
from benchmarks.lockstep import Script, Step
from benchmarks.processes import ROOT

FILE = Path(__file__).with_name("counts.json")
"""Counts that the tests compare with."""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
GROWTH = 0.03
"""Growth above which the tests fail."""
_FEW = 5
"""Instructions more that never fail: of the little that an event costs, they are more than 3 %."""
_JOINED = 21
"""Events in a packet."""
_ROUNDS = 8
"""Requests of each kind. The least count of each part is taken: a timer may run during one, and on
a busy machine it does in most.
"""
_C_CALL = 10
"""Instructions that a call into C counts for: its cost is about that of so many."""
_C_CALLS = "calls into C"
_LIBRARIES = tuple(
    f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib", "platstdlib", "stdlib")
)
_OWN = f"{ROOT}/benchmarks/"

Files = dict[str, int]
"""Instructions by file."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Instructions of one configuration."""

    request: Files
    """A request with a small answer."""
    connection: Files
    """A request with a small answer on a connection of its own, from its accept to its close."""
    stream: Files
    """A streamed request, without its events."""
    event: Files
    """One event of a stream."""
    joined: Files
    """20 more events in the same packet."""


UNITS = ("request", "connection", "stream", "event", "joined")
"""What is counted, in the order of `Counts`."""


def measure() -> dict[str, Counts]:
    """Return the counts of a bare gateway and of one with the whole chain."""
    return {"bare": count(whole=False), "whole": count(whole=True)}


def count(*, whole: bool) -> Counts:
    """Return the counts of one configuration."""
    parts = ("request", "connection", "before", "event", "after", "packet")
    found: dict[str, list[Files]] = {part: [] for part in parts}

    def script(script: Script) -> None:
        counter = _Counter()
        for _ in range(2):
            script.ask()
            script.ask_alone()
            script.chat(2)
        script.wait()
        script.run_in_loop(counter.start)
        script.ask()
        script.chat(2)
        for _ in range(_ROUNDS):
            counter.take()
            script.ask()
            script.wait()
            found["request"].append(counter.take())
            script.ask_alone()
            script.wait()
            found["connection"].append(counter.take())
            before, event, after = _chat(script, counter, 1)
            found["before"].append(before)
            found["event"].append(event)
            found["after"].append(after)
            found["packet"].append(_chat(script, counter, _JOINED)[1])
        script.run_in_loop(counter.stop)

    lockstep.run(script, lockstep.whole if whole else lockstep.bare)
    least = {name: min(rounds, key=_sum) for name, rounds in found.items()}
    stream = dict(Counter(least.pop("before")) + Counter(least.pop("after")))
    more = Counter(least.pop("packet"))
    more.subtract(least["event"])
    return Counts(
        **least, stream=stream, joined={file: count for file, count in more.items() if count}
    )


def _chat(script: Script, counter: _Counter, joined: int) -> tuple[Files, Files, Files]:
    """Return what a streamed chat costs before its second event, for this one, and after it. The
    second event is like all that follow; the first belongs to the response's head.
    """
    steps: list[Files] = []

    def step(step: Step) -> None:
        if step in (Step.EVENT, Step.END):
            steps.append(counter.take())

    script.chat(2, step, joined=joined)
    script.wait()
    before, event = steps
    return before, event, counter.take()


def _sum(files: Files) -> int:
    return sum(files.values())


class _Counter:
    """Trace and profile functions of the gateway's thread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, str | None] = {}

    def start(self) -> None:
        """Begin, in the thread that serves."""
        sys.settrace(self._trace)
        sys.setprofile(self._profile)

    def stop(self) -> None:
        """End."""
        sys.settrace(None)
        sys.setprofile(None)

    def take(self) -> Files:
        """Return the counts since the last call."""
        taken = dict(self._counts)
        self._counts.clear()
        return taken

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        """Count the instructions of one frame, from its call or resumption on."""
        code = frame.f_code.co_filename
        name = self._names.get(code, "")
        if name == "":
            name = self._names[code] = _name(code)
        if name is None:
            return None
        counts = self._counts
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False

        def opcode(_: FrameType, event: str, __: object) -> Any:
            if event == "opcode":
                counts[name] += 1
            return opcode

        return opcode

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "c_call" and _name(frame.f_code.co_filename) is not None:
            self._counts[_C_CALLS] += _C_CALL


def _name(file: str) -> str | None:
    """Return the name of a file without its folder; None for this tool's own."""
    if file.startswith(_OWN):
        return None
    for folder in _LIBRARIES:
        if file.startswith(folder):
            return file.removeprefix(folder)
    return file.removeprefix(f"{ROOT}/")


# -- comparison ----------------------------------------------------------------------------


def kept() -> dict[str, Counts] | None:
    """Return the counts that are kept, or None if there are none for this Python."""
    if not FILE.exists():
        return None
    document = json.loads(FILE.read_text())
    if document["python"] != PYTHON:
        return None
    return {name: Counts(**counts) for name, counts in document["counts"].items()}


def keep(counts: Mapping[str, Counts]) -> None:
    """Keep the counts, for the tests to compare with."""
    document = {
        name: {unit: dict(sorted(getattr(each, unit).items())) for unit in UNITS}
        for name, each in counts.items()
    }
    text = json.dumps({"python": PYTHON, "counts": document}, indent=1)
    FILE.write_text(text + "\n")


def growth(before: Files, now: Files) -> str | None:
    """Return which files grew, by how many instructions, if their sum grew by more than 3 %, else
    None.
    """
    old, new = sum(before.values()), sum(now.values())
    if new <= max(old * (1 + GROWTH), old + _FEW):
        return None
    more = Counter(now)
    more.subtract(before)
    grown = [f"{file} {count:+}" for file, count in more.most_common(8) if count > 0]
    return f"{old} → {new} instructions ({new / old - 1:+.1%}): {', '.join(grown)}"


def render(counts: Mapping[str, Counts], before: Mapping[str, Counts] | None) -> str:
    """Return a table of the sums, beside those that are kept, and what costs most."""
    lines = ["| instructions | now | kept | most in |", "|---|--:|--:|---|"]
    for name, each in counts.items():
        for unit in UNITS:
            files: Files = getattr(each, unit)
            old = sum(getattr(before[name], unit).values()) if before else ""
            most = ", ".join(f"{file} {n}" for file, n in Counter(files).most_common(4))
            lines.append(f"| {name}, {unit} | {sum(files.values())} | {old} | {most} |")
    return "\n".join(lines)
