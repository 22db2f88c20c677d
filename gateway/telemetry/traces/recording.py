"""What a worker writes down of each request, and keeps until the admin process takes it.

A request is recorded in a few appends; no span is made here. What it becomes at its end, if it is
kept, is one line of JSON; spans are built of that in the admin process (`spans.py`), so that no
collector and no disk ever takes time from a stream. What is not kept is counted and forgotten.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.telemetry.as_json import as_json
from gateway.telemetry.traces.content import Content
from gateway.telemetry.traces.gaps import Gaps
from gateway.usage import Usage

if TYPE_CHECKING:
    from gateway.telemetry.traces.context import Parent

_BACKLOG_RECORDS = 4096
_BACKLOG_BYTES = 16 * 1024 * 1024
_BATCH_RECORDS = 250
"""Taken at once: joining them holds the event loop for a tenth of a millisecond."""
_MOST_EVENTS = 50
_DIGITS = "0123456789abcdef"
_MOST_TALLIES = 2000
"""Of those who are told apart between two looks; the others are counted together."""
OTHERS = "(others)"


class Kept(StrEnum):
    """Why a request is written down."""

    SAMPLED = "sampled"
    ERROR = "error"
    SLOW = "slow"
    LIMITED = "limited"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class KeepRules:
    """What is kept beside what is sampled."""

    errors: bool = True
    """Also streams that broke off, whoever did it."""
    slow_s: float | None = 10.0
    """Seconds to the first token, or to the first byte of an answer that is not a model's."""
    limited: bool = True


class Mark:
    """Something done before a request is sent on, from now until `ended` is set."""

    __slots__ = ("began", "ended", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.perf_counter()
        self.ended: float | None = None
        """None: it ended the request."""


class Trace:
    """One request's part of a trace. Times are `time.perf_counter` seconds."""

    __slots__ = (
        "attempts",
        "carried",
        "content",
        "events",
        "gaps",
        "id",
        "link",
        "marks",
        "parent",
        "reads",
        "sampled",
        "stem",
        "stream",
        "words",
    )

    def __init__(self, trace_id: str, sampled: bool) -> None:
        self.id = trace_id
        self.sampled = sampled
        self.stem = f"1{trace_id[:14]}"
        """Of its span's id, all but the last digit, which is 0: the spans inside count up from it.
        Where the trace begins here, its own digits are as good as others.
        """
        self.parent: Parent | None = None
        """The caller's span, if the caller is believed."""
        self.link: Parent | None = None
        """The caller's span, if it is not."""
        self.carried = b""
        """Header lines passed on: tracestate and baggage."""
        self.marks: list[Mark] = []
        self.attempts: list[tuple[int, float, float, str, str, str | None, int, str]] = []
        """Number, begin and end of waiting for a head, endpoint, upstream, model, status, and what
        it failed of.
        """
        self.stream: str | None = None
        """The kept stream that it began, or reads."""
        self.reads = False
        """It reads a stream that another request began."""
        self.words: dict[int, str] = {}
        """What backends said of errors that were not passed on, by the attempt's number."""
        self.events: list[tuple[str, float, str]] = []
        """What happened to its stream."""
        self.gaps: Gaps | None = None
        self.content: Content | None = None
        """Prompt and answer, where the route records them."""

    def header_lines(self, attempt: int) -> bytes:
        """What tells the upstream where in the trace it is."""
        flags = "01" if self.sampled else "00"
        span = self.stem + _DIGITS[attempt] if attempt < 16 else f"{int(self.span, 16) + attempt:x}"
        line = f"traceparent: 00-{self.id}-{span}-{flags}\r\n".encode()
        return line + self.carried if self.carried else line

    @property
    def span(self) -> str:
        """The id of the request's own span."""
        return f"{self.stem}0"

    def begin(self, name: str) -> Mark:
        """Something begins."""
        mark = Mark(name)
        self.marks.append(mark)
        return mark

    def event(self, name: str, detail: str = "") -> None:
        """Something happened to the stream."""
        if len(self.events) < _MOST_EVENTS:
            self.events.append((name, time.perf_counter(), detail))


@dataclass(slots=True)
class Tally:
    """Of all requests of one kind, kept or not."""

    requests: int = 0
    errors: int = 0
    limited: int = 0
    counted: int = 0
    """Of these the tokens are known."""
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    """Of those in: read from a backend's cache."""
    cache_write: int = 0
    """Of those in: written to it."""
    reasoning: int = 0
    """Of those out: thoughts."""

    def add(self, used: Usage) -> None:
        """Count the tokens of one request."""
        self.counted += 1
        self.tokens_in += used.input
        self.tokens_out += used.output
        self.cached += used.cached
        self.cache_write += used.cache_write
        self.reasoning += used.reasoning

    @property
    def used(self) -> Usage:
        """All tokens."""
        return Usage(self.tokens_in, self.tokens_out, self.cached, self.cache_write, self.reasoning)


TallyKey = tuple[str, str, str]
"""Route, model and tenant."""


class Records:
    """Of one worker: what it keeps until it is taken, and the tallies of everything."""

    def __init__(self) -> None:
        self.boot = secrets.token_hex(8)
        """Tells this process from the one before it."""
        self.dropped = 0
        """Records lost because nobody took them in time."""
        self.wanted = True
        """False: there is nowhere to put them."""
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._tallies: dict[TallyKey, Tally] = {}
        self._given: tuple[int, bytes] | None = None
        self._number = 0
        self.price: Callable[[str, Usage], tuple[float, str]] = _free
        """What tokens of a model cost, and in which currency."""

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep one. Drops it, and counts that, where too many wait."""
        line = as_json(record)  # bytes: the garbage collector skips them
        if len(self._lines) >= _BACKLOG_RECORDS or self._bytes + len(line) > _BACKLOG_BYTES:
            self.dropped += 1
            return
        self._bytes += len(line)
        self._lines.append(line)

    def tally(self, key: TallyKey) -> Tally:
        """Where a request is counted."""
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= _MOST_TALLIES:
                key = (key[0], key[1], OTHERS)
            tally = self._tallies.setdefault(key, Tally())
        return tally

    def take(self, acknowledged: int = 0) -> bytes:
        """A batch as JSON: what was added since the last one, or that one again if it was not
        acknowledged by its number.
        """
        if self._given is not None and self._given[0] != acknowledged:
            return self._given[1]
        self._number += 1
        count = min(len(self._lines), _BATCH_RECORDS)
        lines = [self._lines.popleft() for _ in range(count)]
        self._bytes -= sum(map(len, lines))
        tallies, self._tallies = self._tallies, {}
        head = {
            "boot": self.boot,
            "number": self._number,
            "more": bool(self._lines),
            "dropped": self.dropped,
            "tallies": [self._row(key, tally) for key, tally in tallies.items()],
        }
        batch = as_json(head)[:-1] + b',"records":[' + b",".join(lines) + b"]}"
        self._given = (self._number, batch)
        return batch

    def rest(self) -> list[bytes]:
        """All that is left, in batches; nobody will acknowledge them."""
        batches = [self.take()] if self._given is not None else []
        while self._lines or self._tallies:
            batches.append(self.take(self._number))
        return batches

    def _row(self, key: TallyKey, tally: Tally) -> list[object]:
        route, model, tenant = key
        cost, currency = self.price(model, tally.used)
        return [
            *(route, model, tenant, tally.requests, tally.errors, tally.limited, tally.counted),
            *(tally.tokens_in, tally.tokens_out, cost, currency),
        ]


def _free(_: str, __: Usage) -> tuple[float, str]:
    return 0.0, ""
