"""Queue of audit records, and the task that writes them.

Records are made and written in a thread of its own. The queue is bounded. While the destination
does not take records, they wait, and the same batch is tried again. Once the queue is full, either
new records are dropped, or requests that would make one are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.prompt_audit.file_writer import FileOptions, FileWriter
from gateway.prompt_audit.folder import AuditFolder, SteadyClock

_BATCH_BYTES = 4 * 1024**2
"""Size of waiting records from which they are written at once."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_SWEEP_AGAIN_S = 2.0
"""Pause after a failure to look after the folder."""
_JUMP_S, _HELD_S = 3600.0, 24 * 3600.0
_T = TypeVar("_T")


class RecordResult(StrEnum):
    """Outcome of a record."""

    WRITTEN = "written"
    DROPPED = "dropped"
    """The queue was full, or the process stopped."""
    FAILED = "failed"
    """The record could not be made."""


class WaitingRecord(Protocol):
    """Record of a request that has ended."""

    @property
    def route(self) -> str:
        """Name of the route."""

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""

    def prepare(self) -> Awaitable[None] | None:
        """Do the work that needs the event loop, and may have to be waited for. Raise nothing."""

    def line(self) -> bytes:
        """Return the record as a line, without its end. Called in a thread."""


class Uploads(Protocol):
    """Task that moves closed files elsewhere."""

    def wake(self) -> None:
        """Note that a file was closed."""

    async def run(self) -> None:
        """Upload, until cancelled."""

    async def finish(self) -> None:
        """Upload the files that are left, once."""


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Options of the queue."""

    cap_bytes: int
    refuses: bool
    """True if requests are refused while the queue is full; otherwise records are dropped."""
    retention_s: float | None
    """Time after which files are removed; None to keep them."""
    flush_s: float = 1.0
    """Longest time that a record waits for others to be written with."""
    sweep_s: float = 60.0
    """Pause between two looks at the folder."""
    close_s: float = 5.0
    """Longest time for which the rest is written when the process stops."""


class AuditCounts:
    """Counts of one process."""

    def __init__(self) -> None:
        self.records: Counter[tuple[str, RecordResult]] = Counter()
        """Records, by route and by what became of them."""
        self.written_bytes = 0
        self.failures: Counter[str] = Counter()
        """Failures, by what failed: `write`, `upload` or `folder`."""
        self.uploaded = 0
        """Files that were uploaded."""
        self.removed = 0
        """Files that were removed at the end of their retention."""


class Destination:
    """State of a destination, which is reported when it changes."""

    def __init__(self, report: Callable[[str, str], None]) -> None:
        """`report` is called with `failing` or `holding` and the reason, or with `working`."""
        self._report = report
        self._reasons: dict[str, str] = {}

    @property
    def reason(self) -> str | None:
        """Reason of the failure; None if the destination works."""
        return next(iter(self._reasons.values()), None)

    def failed(self, what: str, why: str) -> None:
        """Note a failure of one of its parts, such as `write`."""
        is_new = what not in self._reasons
        self._reasons[what] = f"{what}: {why}"
        if is_new:
            self._report("failing", self._reasons[what])

    def holds(self, why: str) -> None:
        """Report that old files are kept, which is no failure."""
        self._report("holding", why)

    def works(self, what: str) -> None:
        """Note a success of one of its parts."""
        if self._reasons.pop(what, None) is not None and not self._reasons:
            self._report("working", "")


class PromptLog:
    """Records of one process on their way to files."""

    def __init__(
        self,
        folder: AuditFolder,
        files: FileOptions,
        options: QueueOptions,
        destination: Destination,
        counts: AuditCounts,
        uploads: Uploads | None = None,
    ) -> None:
        self.counts = counts
        self.destination = destination
        self.queued_bytes = 0
        """Size of the records that wait."""
        self._options = options
        self._folder = folder
        self._uploads = uploads
        self._writer = FileWriter(folder, files, closed=self._file_closed)
        self._queue: deque[WaitingRecord] = deque()
        self._batch: list[bytes] = []
        """Lines that could not be written, and are tried again before others."""
        self._batch_routes: list[str] = []
        self._clock = SteadyClock(_JUMP_S, _HELD_S)
        self._threads: ThreadPoolExecutor | None = None
        self._added = asyncio.Event()
        self._is_urgent = False
        self._closing = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._others: list[asyncio.Task[None]] = []
        self._ending, self._batching = asyncio.Lock(), asyncio.Lock()
        self._late: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_closed(self) -> bool:
        """True after `close`. Records that came since may still have to be written."""
        return self._closing.is_set()

    @property
    def refuses(self) -> bool:
        """True if requests that would be recorded have to be refused now."""
        return self._options.refuses and self.queued_bytes >= self._options.cap_bytes

    def start(self) -> None:
        """Begin to write. Needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.create_task(self._write())
        self._others = [asyncio.create_task(self._sweep())]
        if self._uploads is not None:
            self._others.append(asyncio.create_task(self._uploads.run()))

    def add(self, record: WaitingRecord) -> None:
        """Write a record soon. It is dropped, and counted, if the queue is full, unless requests
        are refused instead.
        """
        options = self._options
        if self.queued_bytes >= options.cap_bytes and not options.refuses:
            self.counts.records[record.route, RecordResult.DROPPED] += 1
            return
        self._queue.append(record)
        self.queued_bytes += record.size_bytes
        self._is_urgent = self.queued_bytes >= min(_BATCH_BYTES, options.cap_bytes // 4)
        if self.is_closed:
            self._write_late()
        elif self._is_urgent or len(self._queue) == 1:
            self._added.set()

    async def close(self) -> None:
        """Write what is left, for five seconds at most, and close the file. Records that come later
        are written, too.
        """
        if self._loop is None:
            return  # it was never served
        until = self._loop.time() + self._options.close_s
        self._closing.set()
        self._added.set()
        for task in self._others:
            task.cancel()
        await asyncio.gather(*self._others, return_exceptions=True)
        # A batch on its way to the disk is not interrupted: it would be written twice.
        if self._writing is not None:
            _, late = await asyncio.wait([self._writing], timeout=self._options.close_s)
            for task in late:
                task.cancel()
        self._writing, self._others = None, []
        await self._end(until)
        if self._late is not None:
            await self._late

    # -- private -------------------------------------------------------------------------------

    async def _write(self) -> None:
        while not self._closing.is_set():
            await self._await_batch()
            pause_s = _FIRST_PAUSE_S
            while not await self._write_batch() and not self._closing.is_set():
                await _wait(self._closing, pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _await_batch(self) -> None:
        """Wait for a record, and a while for others."""
        while not self._queue and not self._closing.is_set():
            self._added.clear()
            await _wait(self._added, self._idle_s())
            if not self._queue:
                await self._run(self._close_if_old)
        if not self._is_urgent and not self._closing.is_set():
            self._added.clear()
            await _wait(self._added, self._options.flush_s)

    def _idle_s(self) -> float | None:
        due_at = self._writer.due_at
        return None if due_at is None else max(0.1, due_at - time.monotonic())

    async def _write_batch(self) -> bool:
        """Write the records that wait. Return False if the destination does not take them."""
        async with self._batching:  # records may come while the rest is written
            return await self._try_batch()

    async def _try_batch(self) -> bool:
        if not self._batch:
            await self._make_batch()
        if not self._batch:
            return True
        try:
            written = await self._run(self._append, list(self._batch))
        except OSError as exc:
            self.counts.failures["write"] += 1
            self.destination.failed("write", exc.strerror or str(exc))
            return False
        self.destination.works("write")
        self.counts.written_bytes += written
        for route in self._batch_routes:
            self.counts.records[route, RecordResult.WRITTEN] += 1
        self.queued_bytes -= sum(map(len, self._batch))
        self._batch, self._batch_routes = [], []
        return True

    async def _make_batch(self) -> None:
        """Make the lines of the records that wait, up to the size of a batch."""
        records: list[WaitingRecord] = []
        size_bytes = 0
        while self._queue and size_bytes < _BATCH_BYTES:
            record = self._queue.popleft()
            records.append(record)
            size_bytes += record.size_bytes
            waiting = record.prepare()
            if waiting is not None:
                await waiting
        for record, line in zip(records, await self._run(_lines, records), strict=True):
            self.queued_bytes -= record.size_bytes
            if isinstance(line, Exception):
                self.counts.records[record.route, RecordResult.FAILED] += 1
                self._report(record, line)
            else:
                self._batch.append(line)
                self._batch_routes.append(record.route)
                self.queued_bytes += len(line)

    def _report(self, record: WaitingRecord, exc: Exception) -> None:
        # The error itself may hold content.
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"a record of route {record.route} failed: {type(exc).__name__}"}
        )

    async def _sweep(self) -> None:
        """Close files that dead processes left, and remove those whose retention is over."""
        while True:
            try:
                await self._run(self._folder.prepare)
                await self._run(self._folder.close_left)
                if self._uploads is not None:
                    self._uploads.wake()
                await self._remove_old()
            except OSError as exc:
                self.counts.failures["folder"] += 1
                self.destination.failed("folder", exc.strerror or str(exc))
                await asyncio.sleep(_SWEEP_AGAIN_S)
            else:
                self.destination.works("folder")
                await asyncio.sleep(self._options.sweep_s)

    async def _remove_old(self) -> None:
        retention_s = self._options.retention_s
        if retention_s is None:
            return
        if self._clock.jumped():
            self.destination.holds("the clock was set forward: no file is removed for 24 hours")
        elif not self._clock.holds():
            now = time.time()
            self.counts.removed += await self._run(self._folder.remove_older, retention_s, now)

    def _append(self, lines: list[bytes]) -> int:
        self._writer.close_if_old()
        return self._writer.append(lines)

    def _close_if_old(self) -> None:
        # The file is readable, and the next one reports what is wrong.
        with contextlib.suppress(OSError):
            self._writer.close_if_old()

    def _file_closed(self, path: Path) -> None:
        """Note a complete file. Called in the thread."""
        if self._uploads is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._uploads.wake)

    async def _run(self, function: Callable[..., _T], *args: object) -> _T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "prompt-audit")
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def _write_late(self) -> None:
        """Write a record that came after the end, of a request that outlived its configuration."""
        if self._late is None or self._late.done():
            until = asyncio.get_running_loop().time() + self._options.close_s
            self._late = asyncio.create_task(self._end(until))

    async def _end(self, until: float) -> None:
        """Write what is left `until` a time of the event loop's clock, and close the file."""
        async with self._ending:
            await self._write_rest(until)

    async def _write_rest(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                while self._queue or self._batch:
                    if not await self._write_batch():
                        await asyncio.sleep(_FIRST_PAUSE_S)
                await self._run(self._writer.close)
                if self._uploads is not None:
                    await self._uploads.finish()
        except TimeoutError:
            self._drop_rest()
        except OSError:
            pass  # the file lacks its end
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _drop_rest(self) -> None:
        left = [*self._batch_routes, *(record.route for record in self._queue)]
        if left:
            self.destination.failed("close", f"{len(left)} records were lost at the end")
        for route in left:
            self.counts.records[route, RecordResult.DROPPED] += 1
        self._queue.clear()
        self._batch, self._batch_routes, self.queued_bytes = [], [], 0


def _lines(records: Sequence[WaitingRecord]) -> list[bytes | Exception]:
    """Return the lines of records, or the errors of those that could not be made: the others are
    still to be written.
    """
    made: list[bytes | Exception] = []
    for record in records:
        try:
            made.append(record.line())
        except Exception as exc:
            made.append(exc)
    return made


async def _wait(event: asyncio.Event, longest_s: float | None) -> None:
    """Wait for an event, for this time at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await event.wait()
