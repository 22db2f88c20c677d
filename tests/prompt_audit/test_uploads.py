"""Uploads of closed files to a bucket."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from gateway.prompt_audit.audit_log import AuditCounts, Destination
from gateway.prompt_audit.folder import AuditFolder, claimed, finish
from gateway.prompt_audit.s3_bucket import BucketFailed
from gateway.prompt_audit.uploads import FileUploads
from tests.support.waiting import eventually


class Bucket:
    """Bucket in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.error: Exception | None = None
        self.calls = 0

    async def put(self, name: str, file: BinaryIO, size_bytes: int, sha256: str) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        data = file.read()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size_bytes, sha256)
        self.objects[name] = data


class Made:
    def __init__(self, folder: Path) -> None:
        self.folder = AuditFolder(folder)
        self.folder.prepare()
        self.bucket, self.counts = Bucket(), AuditCounts()
        self.reports: list[tuple[str, str]] = []
        self.destination = Destination(lambda now, why: self.reports.append((now, why)))
        self.uploads = FileUploads(
            self.folder, self.bucket, "p/", self.destination, self.counts, 0.01
        )

    def file(self, content: bytes) -> Path:
        descriptor, path = self.folder.create(".jsonl")
        os.write(descriptor, content)
        os.close(descriptor)
        final = finish(path, is_empty=False)
        assert final is not None
        return final


@asynccontextmanager
async def running(one: FileUploads) -> AsyncIterator[None]:
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_closed_files_are_uploaded_by_day_and_removed(tmp_path: Path) -> None:
    made = Made(tmp_path / "a")
    file = made.file(b"one")
    descriptor, current = made.folder.create(".jsonl")
    async with running(made.uploads):
        await eventually(lambda: made.counts.uploaded == 1, patience_s=30)
        other = made.file(b"two")
        made.uploads.wake()
        await eventually(lambda: made.counts.uploaded == 2, patience_s=30)
    day = file.name[8:16]
    place = f"p/{day[:4]}/{day[4:6]}/{day[6:8]}"
    assert made.bucket.objects[f"{place}/{file.name}"] == b"one"
    assert made.bucket.objects[f"{place}/{other.name}"] == b"two"
    assert [one.path for one in made.folder.files()] == [current]
    os.close(descriptor)


async def test_an_upload_that_fails_is_tried_again_and_told_once(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path / "a")
    made.file(b"one")
    made.bucket.error = BucketFailed("status 503 SlowDown")
    async with running(made.uploads):
        await eventually(lambda: made.bucket.calls >= 3, patience_s=30)
        assert made.destination.reason == "upload: status 503 SlowDown"
        made.bucket.error = None
        await eventually(lambda: made.counts.uploaded == 1, patience_s=30)
        await eventually(lambda: made.destination.reason is None, patience_s=30)
    assert [now for now, _ in made.reports] == ["failing", "working"]
    assert made.counts.failures["upload"] >= 3


async def test_a_file_that_another_process_uploads_is_left_to_it(tmp_path: Path) -> None:
    made = Made(tmp_path / "a")
    file = made.file(b"one")
    with claimed(file) as descriptor:
        assert descriptor is not None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.uploads.finish(), 0.2)
        file.unlink()
    await made.uploads.finish()
    assert made.bucket.calls == 0


@pytest.mark.parametrize("at_the_end", [False, True])
async def test_a_file_that_another_process_could_not_upload_is_uploaded(
    tmp_path: Path, at_the_end: bool
) -> None:
    made = Made(tmp_path / "a")
    with claimed(made.file(b"one")) as descriptor:
        assert descriptor is not None
        upload = made.uploads.finish() if at_the_end else made.uploads.run()
        uploading = asyncio.create_task(upload)
        await asyncio.sleep(0)
        assert made.bucket.calls == 0
    await eventually(lambda: made.counts.uploaded == 1)
    uploading.cancel()
    await asyncio.wait([uploading])
