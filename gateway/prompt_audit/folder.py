"""Folder of audit files: its permissions, the names of files, and their removal by age.

A file that is being written ends in `.open` and is locked (flock), so processes on one machine tell
a file in use from one that a process left when it died. Names begin with the time, and are unique:
no two processes write the same file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_NAME = re.compile(
    r"prompts-(\d{8}T\d{6})Z-[A-Za-z0-9_-]{1,32}-\d+-[0-9a-f]{8}\.jsonl(?:\.gz)?(?:\.sealed)?(\.open)?"
)
OPEN = ".open"
_CREATED = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_LONGEST_HOST = 32


class FolderUnusable(OSError):
    """Folder that cannot hold audit files. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class AuditFile:
    """A file of the folder."""

    path: Path
    created_at: float
    """Time in its name, in seconds since the epoch."""
    changed_at: float
    size_bytes: int
    is_open: bool
    """True if it is being written, or was when its process died."""


class AuditFolder:
    """Folder of one configuration. It may be a symbolic link; files in it may not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Create the folder, or check the one that is there. Raise FolderUnusable."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            pass  # it is no directory
        except OSError as exc:
            raise FolderUnusable(f"{self.path} cannot be created: {exc.strerror}") from exc
        self.check()

    def check(self) -> None:
        """Check the folder, if it is there. Raise FolderUnusable."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        except OSError as exc:
            raise FolderUnusable(f"{self.path} cannot be used: {exc.strerror}") from exc
        if not stat.S_ISDIR(found.st_mode):
            raise FolderUnusable(f"{self.path} is not a directory")
        if found.st_uid not in (os.geteuid(), 0):
            raise FolderUnusable(f"{self.path} belongs to another user")
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise FolderUnusable(
                f"{self.path} has mode {mode:04o}, so others may list it: run `chmod 700` on it, "
                "or name a folder in it, which the gateway creates"
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise FolderUnusable(f"{self.path} cannot be written to")

    def create(self, suffix: str) -> tuple[int, Path]:
        """Create a file for writing, locked, with mode 0600. `suffix` is such as `.jsonl.gz`.
        Return its descriptor and path. Raise OSError.
        """
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:_LONGEST_HOST] or "host"
        while True:
            name = f"prompts-{at}-{host}-{os.getpid()}-{secrets.token_hex(4)}{suffix}{OPEN}"
            path = self.path / name
            descriptor = os.open(path, _CREATED, 0o600)
            try:
                if _is_locked(descriptor):
                    return descriptor, path
            except OSError:
                os.close(descriptor)
                raise
            # Before it was locked, another process took it for a file that a dead one left.
            os.close(descriptor)

    def files(self) -> list[AuditFile]:
        """Return the audit files, the oldest first; none if the folder is not there. Other files
        and links are left out. Raise OSError.
        """
        try:
            entries = os.scandir(self.path)
        except FileNotFoundError:
            return []  # the writer creates it
        found = []
        with entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is None:
                    continue
                try:
                    about = entry.stat(follow_symlinks=False)
                    created = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
                except (OSError, ValueError):
                    continue
                if stat.S_ISREG(about.st_mode):
                    found.append(
                        AuditFile(
                            Path(entry.path),
                            created.timestamp(),
                            about.st_mtime,
                            about.st_size,
                            match[2] is not None,
                        )
                    )
        return sorted(found, key=lambda file: file.path.name)

    def close_left(self) -> int:
        """Close the files of processes that died: their names lose `.open`. Return their number."""
        closed = 0
        for file in self.files():
            if not file.is_open:
                continue
            with claimed(file.path) as descriptor:
                if descriptor is not None:
                    finish(file.path, is_empty=not os.fstat(descriptor).st_size)
                    closed += 1
        return closed

    def remove_older(self, than_s: float, now: float) -> int:
        """Remove closed files that were last written more than `than_s` seconds before `now`.
        Return their number. Raise OSError.
        """
        removed = 0
        for file in self.files():
            if file.is_open or now - max(file.created_at, file.changed_at) <= than_s:
                continue
            with contextlib.suppress(FileNotFoundError):  # another process was first
                file.path.unlink()
                removed += 1
        return removed


def _is_locked(descriptor: int) -> bool:
    """Lock a file that this process has created. Return False if another process was first, which
    removes the file or has removed it. Raise OSError.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        # Some network file systems have no locks: then nobody takes files for left ones.
        if exc.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    return bool(os.fstat(descriptor).st_nlink)


def finish(path: Path, *, is_empty: bool) -> Path | None:
    """Give a file its final name, and return it; remove a file without a record. Raise OSError."""
    if is_empty:
        path.unlink(missing_ok=True)
        return None
    final = path.with_name(path.name.removesuffix(OPEN))
    path.rename(final)
    return final


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[int | None]:
    """Lock a file that this process did not create. The descriptor is None if another process has
    locked it, or it is gone.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = bool(os.fstat(descriptor).st_nlink)
        except OSError:
            is_ours = False
        yield descriptor if is_ours else None
    finally:
        os.close(descriptor)


class SteadyClock:
    """Wall clock that tells whether it can be trusted for removals: a clock that was set forward
    would make every file look old.
    """

    def __init__(self, tolerance_s: float, hold_s: float) -> None:
        """A jump of more than `tolerance_s` forward stops removals for `hold_s` seconds."""
        self._tolerance_s = tolerance_s
        self._hold_s = hold_s
        self._last: tuple[float, float] | None = None
        self._held_until = 0.0

    def jumped(self, wall: float | None = None, steady: float | None = None) -> bool:
        """Compare both clocks with the last call. Return True if the wall clock has just jumped
        forward. The arguments are the time in seconds since the epoch, and on a clock that is
        never set.
        """
        wall = time.time() if wall is None else wall
        steady = _steady() if steady is None else steady
        last, self._last = self._last, (wall, steady)
        if last is None or (wall - last[0]) - (steady - last[1]) <= self._tolerance_s:
            return False
        self._held_until = steady + self._hold_s
        return True

    def holds(self, steady: float | None = None) -> bool:
        """Tell whether removals wait."""
        return (_steady() if steady is None else steady) < self._held_until


def _steady() -> float:
    """Return the time of a clock that nobody sets. It counts the time of a suspended machine."""
    boot: int | None = getattr(time, "CLOCK_BOOTTIME", None)  # not on macOS
    return time.monotonic() if boot is None else time.clock_gettime(boot)
