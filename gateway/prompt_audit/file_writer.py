"""Writer of audit files: appends batches of lines, and begins another file by size and age.

It blocks, and is called in a thread. What `append` accepted is in a file; what it refused is in
none, so a batch can be tried again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gateway.prompt_audit.data_keys import WrappingKey
from gateway.prompt_audit.folder import AuditFolder, finish
from gateway.prompt_audit.line_file import LineWriter


class Sync(Enum):
    """Moment at which data is forced to the disk (fsync)."""

    BATCH = "batch"
    """Each batch of records, as it is written."""
    CLOSE = "close"
    """Each file, as it is closed."""
    NEVER = "never"


class NoRoom(OSError):
    """The folder holds as much as it may."""


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Options of files."""

    gzip: bool
    keys: Sequence[WrappingKey]
    size_bytes: int
    """Size after which another file begins."""
    age_s: float
    """Time after which another file begins."""
    sync: Sync
    room_bytes: int | None = None
    """Most bytes in the folder; None for no limit."""

    @property
    def suffix(self) -> str:
        """End of the names of files."""
        return ".jsonl" + (".gz" if self.gzip else "") + (".sealed" if self.keys else "")


class FileWriter:
    """Writer of one process."""

    def __init__(
        self,
        folder: AuditFolder,
        options: FileOptions,
        *,
        closed: Callable[[Path], None] = lambda path: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`closed` is called with each file that is complete."""
        self._folder = folder
        self._options = options
        self._closed = closed
        self._now = now
        self._file: _OpenFile | None = None

    def append(self, lines: Sequence[bytes]) -> int:
        """Write lines without their ends. Return the bytes written. Raise OSError: nothing was
        written.
        """
        file = self._file
        if file is not None and file.is_removed:
            self._abandon(file)
            file = None
        if file is None:
            file = self._file = self._begun()
        try:
            written = file.write(b"".join(b"%b\n" % line for line in lines), self._options.sync)
        except OSError:
            self._abandon(file)
            raise
        if file.size_bytes >= self._options.size_bytes:
            # The lines are written, whether or not the file gets its end.
            with contextlib.suppress(OSError):
                self.close()
        return written

    @property
    def due_at(self) -> float | None:
        """Time at which the file is old enough to be closed; None if there is none."""
        return None if self._file is None else self._file.began_at + self._options.age_s

    def close_if_old(self) -> None:
        """Close a file that is old enough. Raise OSError."""
        due_at = self.due_at
        if due_at is not None and self._now() >= due_at:
            self.close()

    def close(self) -> None:
        """Close the file. Raise OSError: the file stays readable, and lacks its end."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.end(self._options.sync)
        finally:
            path = file.close()
            if path is not None:
                self._closed(path)

    def _begun(self) -> _OpenFile:
        options = self._options
        self._folder.prepare()
        if options.room_bytes is not None:
            used = sum(file.size_bytes for file in self._folder.files())
            if used + options.size_bytes > options.room_bytes:
                raise NoRoom(f"files of {used} bytes wait for their upload")
        encoder = LineWriter(gzip=options.gzip, keys=options.keys)
        descriptor, path = self._folder.create(options.suffix)
        file = _OpenFile(descriptor, path, encoder, self._now())
        try:
            file.begin()
        except OSError:
            self._abandon(file)
            raise
        return file

    def _abandon(self, file: _OpenFile) -> None:
        """Close a file that could not be written, with what it has."""
        self._file = None
        with contextlib.suppress(OSError):
            path = file.close()
            if path is not None:
                self._closed(path)


class _OpenFile:
    """File that is being written."""

    def __init__(self, descriptor: int, path: Path, encoder: LineWriter, now: float) -> None:
        self._descriptor = descriptor
        self._path = path
        self._encoder = encoder
        self.began_at = now
        self.size_bytes = 0
        self._is_empty = True

    @property
    def is_removed(self) -> bool:
        """True if somebody removed the file."""
        return not os.fstat(self._descriptor).st_nlink

    def begin(self) -> None:
        """Write the head. Raise OSError."""
        self._put(self._encoder.head)

    def write(self, lines: bytes, sync: Sync) -> int:
        """Write lines, and return the bytes. Raise OSError: the file then ends before them, and
        must not be written to again.
        """
        data = self._encoder.feed(lines)
        before = self.size_bytes
        try:
            self._put(data)
            if sync is Sync.BATCH:
                os.fsync(self._descriptor)
        except OSError:
            self.size_bytes = before
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, before)
            raise
        self._is_empty = False
        return len(data)

    def end(self, sync: Sync) -> None:
        """Write the end. Raise OSError."""
        self._put(self._encoder.finish())
        if sync is not Sync.NEVER:
            os.fsync(self._descriptor)

    def close(self) -> Path | None:
        """Close the file, and return its final name; None if it has no record, or is gone. Raise
        OSError.
        """
        try:
            if self.is_removed:
                return None
            return finish(self._path, is_empty=self._is_empty)
        finally:
            os.close(self._descriptor)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self.size_bytes += written
            view = view[written:]
