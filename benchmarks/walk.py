"""Walk of one streamed chat through the gateway's files: which functions it calls, in order."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType

import gateway
from benchmarks import lockstep
from benchmarks.lockstep import Script, Step

_ROOT = str(Path(gateway.__file__).parent) + "/"
PAGE = Path(_ROOT).parent / "docs" / "architecture.md"
_BEGIN, _END = "<!-- walk: python -m benchmarks walk --update -->", "<!-- end of the walk -->"
_WARM = 2
"""Requests before the one that is walked."""
_IDLE_S = 1.1
"""Longer than the interval of anything that runs by the clock."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function of the gateway, or one resumption of a coroutine."""

    step: Step
    file: str
    """Without `gateway/` and `.py`."""
    function: str
    depth: int
    """Number of the gateway's functions that were running, this one included."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Calls of one request, in order."""

    calls: tuple[Call, ...]

    @property
    def stays(self) -> list[tuple[Call, ...]]:
        """Calls, grouped as long as they stay in one file and one step."""
        return [tuple(calls) for _, calls in groupby(self.calls, lambda c: (c.step, c.file))]

    @property
    def files(self) -> int:
        """Number of files touched."""
        return len({call.file for call in self.calls})

    @property
    def reentries(self) -> int:
        """Number of times that a file is entered again which was left before."""
        entered = sum(1 for _ in groupby(self.calls, lambda call: call.file))
        return entered - self.files

    @property
    def after_the_end(self) -> tuple[int, int]:
        """Calls, and files, from the moment on at which the backend sends its last bytes."""
        calls = [call for call in self.calls if call.step is Step.END]
        return len(calls), len({call.file for call in calls})


def measure() -> dict[str, Walk]:
    """Return the walk of a bare gateway, and of one with the whole chain. Each is of the third
    request of a connection: one event after the first one.
    """
    return {"bare": walk(whole=False), "whole": walk(whole=True)}


def walk(*, whole: bool) -> Walk:
    """Return the walk of one streamed chat of two events."""
    calls: list[Call] = []
    idle: set[tuple[str, str]] = set()

    def script(script: Script) -> None:
        profile = _Profile(calls)
        for _ in range(_WARM):
            script.chat(2)
        script.wait()
        script.run_in_loop(profile.start)
        script.wait(_IDLE_S)  # what runs now, runs by the clock and not for a request
        idle.update((call.file, call.function) for call in calls)
        calls.clear()
        script.chat(2, profile.enter)
        script.wait()
        script.run_in_loop(profile.stop)

    lockstep.run(script, lockstep.whole if whole else lockstep.bare)
    return Walk(tuple(call for call in calls if (call.file, call.function) not in idle))


class _Profile:
    """Profile function of the gateway's thread."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls
        self._step = Step.REQUEST
        self._depth = 0

    def start(self) -> None:
        """Begin, in the thread that serves."""
        sys.setprofile(self._note)

    def stop(self) -> None:
        """End."""
        sys.setprofile(None)

    def enter(self, step: Step) -> None:
        """Give the calls from now on to another step."""
        self._step = step

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event not in ("call", "return"):
            return
        file = frame.f_code.co_filename
        if not file.startswith(_ROOT):
            return
        if event == "return":
            self._depth -= 1
            return
        self._depth += 1
        name = file.removeprefix(_ROOT).removesuffix(".py")
        self._calls.append(Call(self._step, name, frame.f_code.co_name, self._depth))


# -- text ----------------------------------------------------------------------------------


def render(walks: dict[str, Walk]) -> str:
    """Return the walks as indented lines: one for each stay in a file."""
    blocks = [_figures(walks)]
    for name, each in walks.items():
        lines = [f"{name}:"]
        for step, stays in _by_step(each):
            lines.append(f"  {step}")
            lines += ["    " + "  " * stay[0].depth + _stay(stay) for stay in stays]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def render_markdown(walks: dict[str, Walk]) -> str:
    """Return the files of each step in the order in which they are first entered, as
    docs/architecture.md shows them. No function and no count: those change with every line.
    """
    blocks = []
    for name, each in walks.items():
        blocks.append(f"**{name.capitalize()}**: {each.files} files.")
        lines = []
        for step, stays in _by_step(each):
            files = dict.fromkeys(stay[0].file for stay in stays)
            lines.append(f"- {step}:\n  " + " → ".join(f"`{file}`" for file in files))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def shown() -> str:
    """Return the walks as docs/architecture.md shows them now."""
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0].strip()


def show(walks: dict[str, Walk]) -> None:
    """Write the walks into docs/architecture.md."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}\n{render_markdown(walks)}\n{_END}{after}")


def _by_step(walk: Walk) -> list[tuple[Step, list[tuple[Call, ...]]]]:
    return [(step, list(stays)) for step, stays in groupby(walk.stays, lambda stay: stay[0].step)]


def _stay(calls: Sequence[Call]) -> str:
    names = []
    for function, same in groupby(call.function for call in calls):
        count = len(list(same))
        names.append(function if count == 1 else f"{function} ×{count}")  # noqa: RUF001
    return f"{calls[0].file}: " + " → ".join(names)


def _figures(walks: dict[str, Walk]) -> str:
    lines = [
        "| a streamed chat | calls | files | stays | re-entries | calls after the end | in files |"
    ]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, each in walks.items():
        stays = each.files + each.reentries
        cells = (len(each.calls), each.files, stays, each.reentries, *each.after_the_end)
        lines.append(f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)
