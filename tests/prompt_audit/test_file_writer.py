"""Writer of audit files: rotation, full disks, removed files."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.prompt_audit.data_keys import SecretKey
from gateway.prompt_audit.file_writer import FileOptions, FileWriter, NoRoom, Sync
from gateway.prompt_audit.folder import AuditFolder
from gateway.prompt_audit.line_file import CutOff, read_lines

KEY = SecretKey("k", bytes(32))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def options(**changed: object) -> FileOptions:
    defaults: dict[str, object] = {
        "gzip": False,
        "keys": (),
        "size_bytes": 1000,
        "age_s": 60.0,
        "sync": Sync.BATCH,
    }
    return FileOptions(**{**defaults, **changed})  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> AuditFolder:
    return AuditFolder(tmp_path / "audit")


def lines(folder: AuditFolder) -> list[list[bytes]]:
    """Return the lines of each file, the oldest first."""
    found: list[list[bytes]] = []
    for file in sorted(folder.files(), key=lambda file: file.path.stat().st_ctime_ns):
        found.append([])
        with suppress(CutOff), file.path.open("rb") as content:
            for line in read_lines(content, [KEY]):
                found[-1].append(line)
    return found


def test_another_file_begins_once_one_is_large_enough(folder: AuditFolder) -> None:
    closed: list[Path] = []
    writer = FileWriter(folder, options(), closed=closed.append)
    for number in range(3):
        writer.append([b"%d" % number + b"x" * 600])
    assert [len(file) for file in lines(folder)] == [2, 1]
    assert len(closed) == 1
    writer.close()
    assert len(closed) == 2
    assert not any(file.is_open for file in folder.files())


def test_another_file_begins_once_one_is_old_enough(folder: AuditFolder) -> None:
    clock = Clock()
    writer = FileWriter(folder, options(), now=clock)
    writer.append([b"a"])
    assert writer.due_at == 60
    clock.now = 59
    writer.close_if_old()
    assert writer.due_at == 60
    clock.now = 60
    writer.close_if_old()
    writer.append([b"b"])
    assert sorted(lines(folder)) == [[b"a"], [b"b"]]
    writer.close()


@pytest.mark.parametrize("keys", [(), (KEY,)])
@pytest.mark.parametrize("gzip", [False, True])
def test_each_batch_can_be_read_while_the_file_is_written(
    folder: AuditFolder, keys: tuple[SecretKey, ...], gzip: bool
) -> None:
    writer = FileWriter(folder, options(keys=keys, gzip=gzip))
    writer.append([b"a", b"b"])
    assert lines(folder) == [[b"a", b"b"]]
    writer.append([b"c"])
    assert lines(folder) == [[b"a", b"b", b"c"]]
    writer.close()
    (file,) = folder.files()
    assert file.path.name.endswith(".jsonl" + ".gz" * gzip + ".sealed" * bool(keys))


def full_after(size: int) -> Callable[[int, bytes], int]:
    """Return a write that has room for so many bytes more."""
    left = size
    write = os.write

    def limited(descriptor: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, bytes(data)[:left])
        left -= written
        return written

    return limited


@pytest.mark.parametrize("keys", [(), (KEY,)])
@pytest.mark.parametrize("gzip", [False, True])
def test_a_batch_that_the_disk_has_no_room_for_can_be_tried_again(
    folder: AuditFolder,
    monkeypatch: pytest.MonkeyPatch,
    keys: tuple[SecretKey, ...],
    gzip: bool,
) -> None:
    writer = FileWriter(folder, options(keys=keys, gzip=gzip))
    writer.append([b"a"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_after(5))
        with pytest.raises(OSError, match="No space left"):
            writer.append([os.urandom(200).hex().encode()])
        with pytest.raises(OSError, match="No space left"):
            writer.append([b"b"])
    assert lines(folder) == [[b"a"]]
    writer.append([b"b"])
    writer.close()
    assert sorted(lines(folder)) == [[b"a"], [b"b"]]


def test_a_file_that_somebody_removed_is_begun_again(folder: AuditFolder) -> None:
    writer = FileWriter(folder, options())
    writer.append([b"a"])
    (file,) = folder.files()
    file.path.unlink()
    writer.append([b"b"])
    assert lines(folder) == [[b"b"]]
    shutil.rmtree(folder.path)
    writer.append([b"c"])
    writer.close()
    assert lines(folder) == [[b"c"]]


def test_files_that_wait_for_their_upload_have_a_limit(folder: AuditFolder) -> None:
    writer = FileWriter(folder, options(room_bytes=2500))
    writer.append([b"x" * 1000])
    writer.append([b"x" * 1000])
    with pytest.raises(NoRoom, match="wait for their upload"):
        writer.append([b"y"])
    folder.files()[0].path.unlink()
    writer.append([b"y"])
    writer.close()


@pytest.mark.parametrize(("sync", "most"), [(Sync.BATCH, 3), (Sync.CLOSE, 1), (Sync.NEVER, 0)])
def test_data_is_forced_to_the_disk_as_the_options_say(
    folder: AuditFolder, monkeypatch: pytest.MonkeyPatch, sync: Sync, most: int
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    writer = FileWriter(folder, options(sync=sync))
    writer.append([b"a"])
    writer.append([b"b"])
    writer.close()
    assert len(calls) == most


def test_a_file_without_a_record_leaves_nothing(
    folder: AuditFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = FileWriter(folder, options(keys=(KEY,)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_after(1000))
        with pytest.raises(OSError, match="No space left"):
            writer.append([b"z" * 5000])
    assert list(folder.path.iterdir()) == []


def test_lines_are_written_once_although_their_file_cannot_be_ended(
    folder: AuditFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = FileWriter(folder, options(gzip=True, size_bytes=10, sync=Sync.CLOSE))

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        writer.append([b"a" * 100])
    writer.append([b"b"])
    writer.close()
    assert sorted(lines(folder)) == [[b"a" * 100], [b"b"]]
