"""Uploads of closed audit files to a bucket. A file is removed once the bucket has it.

Every process uploads what it finds, its own files and those of processes that died; a lock on each
file keeps two from uploading the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from enum import Enum
from typing import BinaryIO, Protocol

from gateway.prompt_audit.audit_log import AuditCounts, Destination
from gateway.prompt_audit.folder import AuditFile, AuditFolder, claimed
from gateway.prompt_audit.s3_bucket import BucketFailed

_LONGEST_PAUSE_S = 60.0
_CLAIMED_PAUSE_S = 0.05
"""Pause at the end until a file is tried again that somebody else is uploading."""


class _UploadOutcome(Enum):
    DONE = "nothing is left to upload"
    CLAIMED = "somebody else is uploading a file"
    FAILED = "an upload failed"


class Bucket(Protocol):
    """Destination of files."""

    async def put(self, name: str, file: BinaryIO, size_bytes: int, sha256: str) -> None:
        """Put an object. Raise BucketFailed."""


class FileUploads:
    """Task of one process."""

    def __init__(
        self,
        folder: AuditFolder,
        bucket: Bucket,
        prefix: str,
        destination: Destination,
        counts: AuditCounts,
        first_pause_s: float = 1.0,
    ) -> None:
        """`first_pause_s` is the pause after a first failure."""
        self._first_pause_s = first_pause_s
        self._folder = folder
        self._bucket = bucket
        self._prefix = prefix
        self._destination = destination
        self._counts = counts
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Note that there are files to upload."""
        self._woken.set()

    async def run(self) -> None:
        """Upload files when there are some, until cancelled. Failures are tried again."""
        pause_s = self._first_pause_s
        while True:
            self._woken.clear()
            outcome = await self._upload_all()
            if outcome is _UploadOutcome.FAILED:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s = self._first_pause_s
            if outcome is _UploadOutcome.DONE:
                await self._woken.wait()
            else:
                await asyncio.sleep(pause_s)  # the other may fail, and end

    async def finish(self) -> None:
        """Upload what is left, once. What fails stays for the next start. A file that somebody else
        is uploading is waited for, since that may fail.
        """
        outcome = await self._upload_all()
        while outcome is _UploadOutcome.CLAIMED:  # a lock of a file has no event
            await asyncio.sleep(_CLAIMED_PAUSE_S)
            outcome = await self._upload_all()

    async def _upload_all(self) -> _UploadOutcome:
        """Upload all closed files, the oldest first, until one fails."""
        outcome = _UploadOutcome.DONE
        try:
            for file in self._folder.files():
                if not file.is_open and not await self._upload(file):
                    outcome = _UploadOutcome.CLAIMED
        except (BucketFailed, OSError) as exc:
            self._counts.failures["upload"] += 1
            why = str(exc) if isinstance(exc, BucketFailed) else exc.strerror or str(exc)
            self._destination.failed("upload", why)
            return _UploadOutcome.FAILED
        self._destination.works("upload")
        return outcome

    async def _upload(self, file: AuditFile) -> bool:
        """Upload a file. Return False if somebody else is uploading it."""
        with claimed(file.path) as descriptor:
            if descriptor is None:
                return not file.path.exists()
            with os.fdopen(os.dup(descriptor), "rb") as content:
                digest = await asyncio.to_thread(hashlib.file_digest, content, "sha256")
                size_bytes = content.tell()
                content.seek(0)
                name = f"{self._prefix}{_day(file)}/{file.path.name}"
                await self._bucket.put(name, content, size_bytes, digest.hexdigest())
            with contextlib.suppress(FileNotFoundError):
                file.path.unlink()
            self._counts.uploaded += 1
        return True


def _day(file: AuditFile) -> str:
    """Return the folder of a file in the bucket: the day in its name, as YYYY/MM/DD."""
    day = file.path.name.removeprefix("prompts-")
    return f"{day[:4]}/{day[4:6]}/{day[6:8]}"
