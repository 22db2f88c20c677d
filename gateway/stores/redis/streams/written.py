"""Commands that write one stream to Redis, and how much of it is written. No I/O.

`journal.py` says what an entry is. One without events marks the end of a stream.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.resume.log import StreamLog, StreamState, Trimmed
from gateway.resume.sharing import StreamTerms
from gateway.stores.redis.streams import keys

_ENTRY_BYTES = 256 * 1024
_SPARE_S = 60.0
"""Extra lifetime of a running stream beyond its TTL. It is refreshed after a third of its TTL."""
ALIVE_S = 4.0
"""Time without a sign of life after which a process counts as gone."""
_COUNTED_S = 1.0
"""Interval at which the entries of a running stream are counted, to notice lost ones."""
NO_BEAT = 0
"""Value of the `alive` key where it was missing."""
_WRITE_META = Path(__file__).with_name("write_meta.lua").read_text()


@dataclass(frozen=True, slots=True)
class WrittenShare:
    """A call's part of one stream, and the position after the call."""

    sent: int
    first: int
    finished: bool
    refreshed_at: float
    size_bytes: int
    checked: int | None
    """Index of the command in the call that returns 0 if another process runs the stream."""
    added: int | None
    """Index of the command in the call that needs an existing Redis stream (NOMKSTREAM), if any."""
    counted: int | None
    """Index of the command in the call that counts the entries before it, if any."""
    entries: int
    """Number of entries that the call adds."""


class WrittenStream:
    """Write position of a stream."""

    __slots__ = (
        "_counted_at",
        "_entries",
        "_saved",
        "_terms",
        "epoch",
        "finished",
        "first",
        "is_there",
        "log",
        "refreshed_at",
        "replaces",
        "sent",
    )

    def __init__(self, log: StreamLog, terms: StreamTerms, epoch: int = 0) -> None:
        self.log = log
        self.epoch = epoch
        self.finished = False
        self._terms = terms
        self._saved = terms.saved
        """Request to store; None once it is stored."""
        self._counted_at = time.monotonic()
        self.begin_anew()

    @property
    def ttl_s(self) -> float:
        return self._terms.ttl_s

    def begin_anew(self) -> None:
        """Start again: nothing is written."""
        self.sent = 0
        self.first = 1
        self.is_there = False
        """True if Redis has the events written so far. Else the next entry makes the stream."""
        self._entries = 0
        """Number of entries that Redis has at least."""
        self.replaces = False
        """True if entries in Redis are removed before the next is written."""
        self.refreshed_at = float("-inf")
        self._saved = self._terms.saved

    def continues(self) -> None:
        """Go on behind the events of the log, which are in Redis."""
        self.sent, self.first = self.log.last, self.log.first
        self.is_there = self.sent > 0

    def lacks_some(self, count: int) -> bool:
        """Compare with the number of entries in Redis. Return True if some are missing: all of them
        are then written again, since newer ones may be there.
        """
        if count >= self._entries:
            self._entries = count
            return False
        self.begin_anew()
        self.finished = False
        self.replaces = True
        return True

    def is_behind(self, last: bytes) -> bool:
        """Compare with the id of the newest entry in Redis, before which none is missing. Return
        True if there is more to write: it is then written from there on.
        """
        number, _, end = last.partition(b"-")
        self.sent = min(int(number), self.log.last)
        self.finished = end == b"1"
        self.is_there = self.sent > 0
        if not self.is_there:
            self.begin_anew()
        return not self.finished

    def share(self, pipeline: Any, process: str) -> WrittenShare:
        """Add the commands for the new events to the pipeline. Pass the result to `done`."""
        log, name = self.log, keys.events(self.log.id, self.epoch)
        now = time.monotonic()
        try:
            events = log.pieces(self.sent, _ENTRY_BYTES)
        except Trimmed:
            self.sent = log.first - 1
            events = log.pieces(self.sent, _ENTRY_BYTES)
        sent = self.sent + len(events)
        ends = log.ended and sent == log.last
        entries: list[tuple[Any, ...]] = []
        if events:
            entries.append((f"{sent}-0", *entry(self.sent + 1, events)))
        if ends:
            entries.append((f"{sent}-1", "e", log.state.value))
        due = now - self.refreshed_at > self.ttl_s / 3
        checked = added = counted = None
        count = len(entries)
        if self.replaces:
            pipeline.execute_command("DEL", name)
        elif self.is_there and entries and (ends or now - self._counted_at > _COUNTED_S):
            self._counted_at = now
            counted = len(pipeline)
            pipeline.execute_command("XLEN", name)
        if due or ends or (entries and not self.is_there):
            # The first entry makes the stream, so it has to know who runs it.
            first = () if self.is_there or not entries else entries.pop(0)
            if due:
                life = ("PX", int(ALIVE_S * 1000), "NX")  # the tick renews it
                pipeline.execute_command("SET", keys.alive(process), NO_BEAT, *life)
            checked = len(pipeline)
            self._describe(pipeline, process, name, first, ends=ends)
        for one in entries:
            added = len(pipeline)
            pipeline.execute_command("XADD", name, "NOMKSTREAM", *one)
        if log.first != self.first:
            pipeline.execute_command("XTRIM", name, "MINID", f"{log.first}-0")
        size_bytes = sum(map(len, events))
        refreshed_at = now if due else self.refreshed_at
        return WrittenShare(
            sent, log.first, ends, refreshed_at, size_bytes, checked, added, counted, count
        )

    def _describe(
        self, pipeline: Any, process: str, name: str, first: tuple[Any, ...], *, ends: bool
    ) -> None:
        """Add the commands for the description of the stream to the pipeline."""
        log, saved = self.log, self._saved
        left_ms = int((self.ttl_s if ends else self.ttl_s + _SPARE_S) * 1000)
        request: tuple[bytes, bytes] = (b"", b"")
        if saved is not None and not ends:
            request = (saved.description(), saved.request.body)
        told = (process, log.owner, log.cap_bytes, self.epoch, left_ms, self.ttl_s, *request)
        pipeline.execute_command(
            *("EVAL", _WRITE_META, 2, keys.meta(log.id), name, *told),
            *("end" if ends else "", *first),
        )
        if self._terms.saved is not None:
            word = "SREM" if ends else "SADD"
            pipeline.execute_command(word, keys.runs(process), log.id)

    def done(self, share: WrittenShare) -> None:
        """Record that the call succeeded."""
        trimmed = share.first != self.first
        self._entries = 0 if trimmed else self._entries + share.entries
        self.replaces = False
        self.is_there = self.is_there or share.entries > 0
        self.sent, self.first = share.sent, share.first
        self.finished, self.refreshed_at = share.finished, share.refreshed_at
        if share.checked is not None:
            self._saved = None
        if self.log.holds:
            self.log.show(share.sent)


def entry(first: int, events: Sequence[bytes]) -> tuple[str | int | bytes, ...]:
    """Return the fields of an entry: number of its first event, sizes of the events, the events."""
    return "n", first, "l", b",".join(b"%d" % len(e) for e in events), "d", b"".join(events)


def parse_entry(fields: Mapping[bytes, bytes]) -> tuple[int, list[bytes], StreamState | None]:
    """Return an entry's first number, its events and, if it marks the end, the final state."""
    ends = fields.get(b"e")
    if ends is not None:
        return 0, [], StreamState(ends.decode())
    data, start = fields[b"d"], 0
    events = []
    for size in fields[b"l"].split(b","):
        end = start + int(size)
        events.append(data[start:end])
        start = end
    return int(fields[b"n"]), events, None
