"""Queue of audit records, and the task that writes them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest

from gateway.prompt_audit.audit_log import (
    AuditCounts,
    Destination,
    PromptLog,
    QueueOptions,
    RecordResult,
)
from gateway.prompt_audit.file_writer import FileOptions, Sync
from gateway.prompt_audit.folder import AuditFolder
from gateway.prompt_audit.line_file import CutOff, read_lines
from tests.support.waiting import eventually

WRITTEN, DROPPED, FAILED = RecordResult.WRITTEN, RecordResult.DROPPED, RecordResult.FAILED


class Line:
    """Record that is a line already."""

    route = "r"

    def __init__(self, text: bytes, size_bytes: int = 100, error: Exception | None = None) -> None:
        self.size_bytes = size_bytes
        self._text = text
        self._error = error

    def prepare(self) -> Awaitable[None] | None:
        return None

    def line(self) -> bytes:
        if self._error is not None:
            raise self._error
        return self._text


class Made:
    """A log, and what it reported."""

    def __init__(self, folder: Path, **queue: object) -> None:
        self.reports: list[tuple[str, str]] = []
        self.counts = AuditCounts()
        self.folder = AuditFolder(folder)
        files = FileOptions(gzip=False, keys=(), size_bytes=10**6, age_s=3600, sync=Sync.NEVER)
        defaults: dict[str, object] = {"cap_bytes": 1000, "refuses": False, "retention_s": None}
        options = QueueOptions(**{"flush_s": 0.01, **defaults, **queue})  # type: ignore[arg-type]
        destination = Destination(lambda now, why: self.reports.append((now, why)))
        self.log = PromptLog(self.folder, files, options, destination, self.counts)

    def lines(self) -> list[bytes]:
        found: list[bytes] = []
        for file in self.folder.files() if self.folder.path.is_dir() else ():
            with contextlib.suppress(CutOff), file.path.open("rb") as content:
                found.extend(read_lines(content))
        return found


def blocked(folder: Path) -> None:
    """Put a file in place of a folder."""
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("")


async def test_records_are_written_in_order(tmp_path: Path) -> None:
    made = Made(tmp_path / "a")
    made.log.start()
    for number in range(5):
        made.log.add(Line(b"%d" % number))
    await eventually(lambda: len(made.lines()) == 5, patience_s=30)
    assert made.lines() == [b"0", b"1", b"2", b"3", b"4"]
    await eventually(lambda: made.counts.records["r", WRITTEN] == 5, patience_s=30)
    assert made.log.queued_bytes == 0
    await made.log.close()
    assert [file.is_open for file in made.folder.files()] == [False]


async def test_a_record_that_cannot_be_made_does_not_stop_the_others(tmp_path: Path) -> None:
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: seen.append(context["message"]))
    made = Made(tmp_path / "a")
    made.log.start()
    made.log.add(Line(b"", error=ValueError("the secret prompt")))
    made.log.add(Line(b"good"))
    await eventually(lambda: made.lines() == [b"good"], patience_s=30)
    await made.log.close()
    assert made.counts.records["r", FAILED] == 1
    assert seen == ["a record of route r failed: ValueError"]


async def test_while_the_destination_fails_records_wait_up_to_the_limit(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    blocked(folder)
    made = Made(folder)
    made.log.start()
    made.log.add(Line(b"one", 600))
    await eventually(lambda: made.counts.failures["write"], patience_s=30)
    made.log.add(Line(b"two", 600))
    made.log.add(Line(b"three", 600))
    made.log.add(Line(b"four", 600))
    assert made.counts.records["r", DROPPED] == 1
    folder.unlink()
    await eventually(lambda: made.lines() == [b"one", b"two", b"three"], patience_s=30)
    await eventually(lambda: made.log.destination.reason is None, patience_s=30)
    states = [now for now, _ in made.reports]
    assert (states[0], states[-1]) == ("failing", "working")
    assert made.counts.records["r", WRITTEN] == 3
    await made.log.close()


async def test_a_full_queue_refuses_where_nothing_may_be_lost(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    blocked(folder)
    made = Made(folder, refuses=True)
    made.log.start()
    made.log.add(Line(b"x" * 1100, 1100))
    assert made.log.refuses
    made.log.add(Line(b"of a request under way", 1100))  # is kept all the same
    assert made.counts.records["r", DROPPED] == 0
    folder.unlink()
    await eventually(lambda: len(made.lines()) == 2, patience_s=30)
    await made.log.close()
    assert made.log.queued_bytes == 0


async def test_what_cannot_be_written_at_the_end_is_counted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a"
    blocked(folder)
    made = Made(folder, close_s=0.2)
    made.log.start()
    made.log.add(Line(b"one"))
    await made.log.close()
    assert made.counts.records["r", DROPPED] == 1
    assert ("failing", "close: 1 records were lost at the end") in made.reports or any(
        why.startswith("write") for _, why in made.reports
    )


async def test_records_that_come_after_the_end_are_written(tmp_path: Path) -> None:
    made = Made(tmp_path / "a")
    made.log.start()
    made.log.add(Line(b"one"))
    await made.log.close()
    made.log.add(Line(b"two"))
    await eventually(
        lambda: made.lines() == [b"one", b"two"] or made.lines() == [b"two", b"one"], patience_s=30
    )
    await eventually(lambda: not any(file.is_open for file in made.folder.files()), patience_s=30)


async def test_records_that_come_while_the_rest_is_written_are_written_once(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path / "a", cap_bytes=10_000)
    made.log.start()
    for number in range(10):
        made.log.add(Line(b"%d" % number))
    closing = asyncio.create_task(made.log.close())
    await asyncio.sleep(0)
    for number in range(10, 15):
        made.log.add(Line(b"%d" % number))
        await asyncio.sleep(0)
    await closing
    await made.log.close()  # of a configuration that outlived its successor
    assert sorted(made.lines(), key=int) == [b"%d" % number for number in range(15)]
    assert made.counts.records["r", WRITTEN] == 15


async def test_a_log_that_was_never_served_leaves_nothing(tmp_path: Path) -> None:
    made = Made(tmp_path / "a")
    await made.log.close()
    assert not (tmp_path / "a").exists()


async def test_old_files_are_removed_unless_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path / "a", retention_s=86400.0, sweep_s=0.01)
    made.folder.prepare()
    # Both times of the file are those of its name and its change.
    for day in ("20200101", "20990101"):
        file = made.folder.path / f"prompts-{day}T000000Z-h-1-0000000a.jsonl"
        file.write_text("")
        os.utime(file, (0, 0))
    made.log.start()
    await eventually(lambda: made.counts.removed == 1, patience_s=30)
    (kept,) = made.folder.files()
    assert "2099" in kept.path.name
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 200 * 365 * 86400)
    await eventually(lambda: made.reports, patience_s=30)
    why = "the clock was set forward: no file is removed for 24 hours"
    assert made.reports == [("holding", why)]
    assert made.log.destination.reason is None
    assert kept.path.exists()
    await made.log.close()
