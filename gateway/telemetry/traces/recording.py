"""Recording of requests in a worker, and the buffer from which the admin process takes the records.

Recording a request costs a few appends and creates no spans. At its end, a request that is kept
becomes one line of JSON. The admin process builds spans from it (`spans.py`), so that neither a
collector nor a disk ever delays a stream. Requests that are not kept are only counted.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gateway.telemetry.as_json import as_json
from gateway.telemetry.traces.content import RecordedContent
from gateway.telemetry.traces.gaps import Gaps
from gateway.usage import Usage

if TYPE_CHECKING:
    from gateway.telemetry.traces.context import Parent

_BACKLOG_RECORDS = 4096
_BACKLOG_BYTES = 16 * 1024 * 1024
_BATCH_RECORDS = 250
"""Maximum number of records in a batch. Joining them blocks the event loop for 0.1 ms."""
_MOST_EVENTS = 50
_DIGITS = "0123456789abcdef"
_MOST_TALLIES = 2000
"""Maximum number of separate tallies in a batch. Further callers are counted together by tenant,
and beyond twice as many, all further tenants.
"""
OTHERS = "(others)"
_NO_WORDS: Mapping[int, str] = {}
AttemptRecord = tuple[int, float, float, str, str, str | None, int, str]
"""Attempt: number, begin and end of the wait, endpoint, upstream, model, status, error."""


class Kept(StrEnum):
    """Reasons for keeping a request."""

    SAMPLED = "sampled"
    ERROR = "error"
    SLOW = "slow"
    LIMITED = "limited"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class KeepRules:
    """Rules for keeping requests that are not sampled."""

    errors: bool = True
    """Keep errors, and streams that broke off, whoever caused it."""
    slow_s: float | None = 10.0
    """Threshold in seconds to the first token; for other answers, to the first byte. None: off."""
    limited: bool = True


class Mark:
    """A phase before a request is sent on. It begins now and lasts until `ended` is set."""

    __slots__ = ("began", "ended", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.perf_counter()
        self.ended: float | None = None
        """End of the phase. None: the request ended in this phase."""


class Trace:
    """The part of a trace that one request makes up. Times are in `time.perf_counter` seconds."""

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
        "shadow_of",
        "stem",
        "stream",
        "words",
    )

    def __init__(self, id_: str, sampled: bool) -> None:
        self.id = id_
        self.sampled = sampled
        self.stem = "1" + id_[:14]
        """First 15 digits of the ids of the request's spans. The id of its own span ends in 0, and
        those of inner spans count up from it. They are derived from the trace id, which saves
        drawing a random number.
        """
        self.parent: Parent | None = None
        """Span of the caller, if its trace context is trusted."""
        self.link: Parent | None = None
        """Span of the caller, if its trace context is not trusted."""
        self.carried = b""
        """Header lines to pass on: tracestate and baggage."""
        self.marks: tuple[Mark, ...] = ()
        self.attempts: tuple[AttemptRecord, ...] = ()
        self.stream: str | None = None
        """Id of the kept stream that the request began or reads."""
        self.reads = False
        """True if the request reads a stream that another request began."""
        self.words: Mapping[int, str] = _NO_WORDS
        """Error messages of backends that were not passed on, by the attempt's number."""
        self.events: tuple[tuple[str, float, str], ...] = ()
        """Events of the stream: name, time and detail."""
        self.gaps: Gaps | None = None
        self.shadow_of: str | None = None
        """Id of the request that this one is a copy of."""
        self.content: RecordedContent | None = None
        """Prompt and answer, if the route records them."""

    @property
    def stream_digest(self) -> str | None:
        """Hash of `stream`. The id itself stays out of records: for an anonymous caller it gives
        access to the stream.
        """
        return None if self.stream is None else digest_of_stream(self.stream)

    def header_lines(self, attempt: int) -> bytes:
        """Return the header lines that tell the upstream its place in the trace."""
        flags = "01" if self.sampled else "00"
        span = self.stem + _DIGITS[attempt] if attempt < 16 else f"{int(self.span, 16) + attempt:x}"
        line = f"traceparent: 00-{self.id}-{span}-{flags}\r\n".encode()
        return line + self.carried if self.carried else line

    @property
    def span(self) -> str:
        """Id of the request's own span."""
        return f"{self.stem}0"

    def begin(self, name: str) -> Mark:
        """Record the beginning of a phase."""
        mark = Mark(name)
        self.marks += (mark,)
        return mark

    def passed(self, name: str) -> None:
        """Record a phase that waited for nothing."""
        mark = Mark(name)
        mark.ended = mark.began
        self.marks += (mark,)

    def event(self, name: str, detail: str = "") -> None:
        """Record an event of the stream. Only the first 50 are kept."""
        if len(self.events) < _MOST_EVENTS:
            self.events += ((name, time.perf_counter(), detail),)


@dataclass(slots=True)
class Tally:
    """Counts of all requests of one kind, kept or not."""

    requests: int = 0
    errors: int = 0
    limited: int = 0
    counted: int = 0
    """Number of requests whose tokens are known."""
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    """Input tokens that were read from a backend's cache."""
    cache_write: int = 0
    """Input tokens that were written to a backend's cache."""
    reasoning: int = 0
    """Output tokens of reasoning."""
    surcharge: float = 0.0
    """Cost of the tokens above the model's own price, because of prices of deployments."""

    def add(self, used: Usage) -> None:
        """Add the tokens of one request."""
        self.counted += 1
        self.tokens_in += used.input
        self.tokens_out += used.output
        self.cached += used.cached
        self.cache_write += used.cache_write
        self.reasoning += used.reasoning

    @property
    def used(self) -> Usage:
        """Sum of all tokens."""
        return Usage(self.tokens_in, self.tokens_out, self.cached, self.cache_write, self.reasoning)


TallyKey = tuple[str, str, str, str, str, str, str]
"""Route, model, tenant, subject, id of the API key, team, and the key's tags, separated by commas.
Each is empty if there is none.
"""


class TraceRecords:
    """Buffer of one worker: records until they are taken, and tallies of all requests."""

    def __init__(self) -> None:
        self.boot = secrets.token_hex(8)
        """Id of this process, which distinguishes it from its predecessor."""
        self.dropped = 0
        """Number of records lost because they were not taken in time."""
        self.wanted = True
        """False if records have no destination."""
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._tallies: dict[TallyKey, Tally] = {}
        self._given: tuple[int, bytes] | None = None
        self._number = 0
        self.due: Callable[[], None] = _nothing
        """Called before records are taken: what is recorded later has to be recorded now."""
        self.price: Callable[[str, Usage], tuple[float, str]] = _free
        """Cost of a model's tokens, and its currency."""
        self.surcharge: Callable[[str, str, Usage], float] | None = None
        """Cost of a model's tokens at an upstream above the model's own price; None if no
        deployment has a price of its own.
        """

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record. If too many are waiting, it is dropped and counted."""
        line = as_json(record)  # as bytes, which the garbage collector does not scan
        if len(self._lines) >= _BACKLOG_RECORDS or self._bytes + len(line) > _BACKLOG_BYTES:
            self.dropped += 1
            return
        self._bytes += len(line)
        self._lines.append(line)

    def tally(self, key: TallyKey) -> Tally:
        """Return the tally in which a request is counted."""
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= _MOST_TALLIES:
                tenant = key[2] if len(self._tallies) < 2 * _MOST_TALLIES else OTHERS
                key = (key[0], key[1], tenant, OTHERS, "", key[5], "")
            tally = self._tallies.setdefault(key, Tally())
        return tally

    def take(self, acknowledged: int = 0) -> bytes:
        """Return a batch as JSON: what was added since the last batch, or the last batch again if
        its number is not `acknowledged`.
        """
        if self._given is not None and self._given[0] != acknowledged:
            return self._given[1]
        self.due()
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
        """Return everything that is left, in batches. They need no acknowledgement."""
        self.due()
        batches = [self.take()] if self._given is not None else []
        while self._lines or self._tallies:
            batches.append(self.take(self._number))
        return batches

    def _row(self, key: TallyKey, tally: Tally) -> list[object]:
        cost, currency = self.price(key[1], tally.used)
        return [
            *(*key[:5], tally.requests, tally.errors, tally.limited, tally.counted),
            *(tally.tokens_in, tally.tokens_out, tally.cached),
            *(cost + tally.surcharge, currency, *key[5:]),
        ]


def _free(_: str, __: Usage) -> tuple[float, str]:
    return 0.0, ""


def digest_of_stream(stream: str) -> str:
    """Return the hash by which records name a kept stream."""
    return blake2b(stream.encode(), digest_size=8).hexdigest()


def _nothing() -> None:
    pass
