"""Folder of audit files: permissions, names, files of dead processes, and removal by age."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from gateway.prompt_audit.folder import (
    AuditFolder,
    FolderUnusable,
    SteadyClock,
    claimed,
    finish,
)

DAY_S = 86400.0


def made(folder: AuditFolder, content: bytes = b"x") -> Path:
    """Create a closed file, and return its path."""
    descriptor, path = folder.create(".jsonl")
    os.write(descriptor, content)
    os.close(descriptor)
    final = finish(path, is_empty=False)
    assert final is not None
    return final


@pytest.fixture
def folder(tmp_path: Path) -> AuditFolder:
    made = AuditFolder(tmp_path / "a" / "b")
    made.prepare()
    return made


def test_a_folder_that_is_not_there_yet_has_no_files(tmp_path: Path) -> None:
    assert AuditFolder(tmp_path / "later").files() == []


def test_folder_and_files_belong_to_their_user_alone(folder: AuditFolder) -> None:
    descriptor, path = folder.create(".jsonl.gz")
    os.close(descriptor)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name.endswith(".jsonl.gz.open")


def test_a_folder_that_others_may_list_is_refused(tmp_path: Path) -> None:
    for mode in (0o755, 0o710, 0o701):
        tmp_path.chmod(mode)
        with pytest.raises(FolderUnusable, match=f"has mode 0{mode:o}, so others may list it"):
            AuditFolder(tmp_path).prepare()
    tmp_path.chmod(0o700)
    AuditFolder(tmp_path).prepare()


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(FolderUnusable, match="is not a directory"):
        AuditFolder(tmp_path / "f").prepare()
    with pytest.raises(FolderUnusable, match="cannot be created"):
        AuditFolder(tmp_path / "f" / "g").prepare()


def test_a_folder_may_be_a_link_whose_target_is_checked(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(FolderUnusable, match="others may list it"):
        AuditFolder(tmp_path / "link").prepare()
    target.chmod(0o700)
    folder = AuditFolder(tmp_path / "link")
    folder.prepare()
    made(folder)
    assert len(list(target.iterdir())) == 1


def test_a_check_creates_nothing(tmp_path: Path) -> None:
    AuditFolder(tmp_path / "none").check()
    assert not (tmp_path / "none").exists()


def test_other_files_and_links_are_not_listed_and_not_removed(
    folder: AuditFolder, tmp_path: Path
) -> None:
    own = made(folder)
    outside = tmp_path / own.name
    outside.write_text("precious")
    os.utime(outside, (0, 0))
    link = folder.path / own.name.replace("prompts-2", "prompts-1")
    link.symlink_to(outside)
    (folder.path / "notes.txt").write_text("")
    assert [file.path for file in folder.files()] == [own]
    assert folder.remove_older(DAY_S, own.stat().st_mtime + 10 * DAY_S) == 1
    assert outside.read_text() == "precious"
    assert link.is_symlink()


def test_files_are_removed_by_age_unless_they_are_being_written(folder: AuditFolder) -> None:
    old = made(folder)
    descriptor, current = folder.create(".jsonl")
    now = old.stat().st_mtime
    assert folder.remove_older(DAY_S, now + DAY_S) == 0
    assert folder.remove_older(DAY_S, now + DAY_S + 2) == 1
    assert current.exists()
    os.close(descriptor)


def test_a_file_whose_name_or_change_is_young_is_kept(folder: AuditFolder) -> None:
    file = made(folder)
    now = file.stat().st_mtime
    os.utime(file, (now + 5 * DAY_S, now + 5 * DAY_S))
    assert folder.remove_older(DAY_S, now + 3 * DAY_S) == 0
    os.utime(file, (0, 0))
    assert folder.remove_older(DAY_S, now) == 0


def test_files_that_dead_processes_left_are_closed(folder: AuditFolder) -> None:
    alive, current = folder.create(".jsonl")
    dead, left = folder.create(".jsonl")
    os.write(dead, b"{}\n")
    os.close(dead)  # as the kernel does when a process dies
    empty, nothing = folder.create(".jsonl")
    os.close(empty)
    assert folder.close_left() == 2
    assert [file.is_open for file in folder.files()] in ([True, False], [False, True])
    assert current.exists()
    assert left.with_name(left.name.removesuffix(".open")).read_bytes() == b"{}\n"
    assert not nothing.exists()
    os.close(alive)


def test_only_one_process_at_a_time_claims_a_file(folder: AuditFolder) -> None:
    file = made(folder)
    with claimed(file) as first, claimed(file) as second:
        assert first is not None
        assert second is None
    with claimed(file) as again:
        assert again is not None
    file.unlink()
    with claimed(file) as gone:
        assert gone is None


def test_a_clock_that_is_set_forward_stops_removals_for_a_while() -> None:
    clock = SteadyClock(tolerance_s=3600, hold_s=DAY_S)
    assert not clock.jumped(wall=1000, steady=10)
    assert not clock.jumped(wall=1070, steady=70)
    assert clock.jumped(wall=1070 + 30 * DAY_S, steady=130)
    assert clock.holds(steady=140)
    assert not clock.jumped(wall=1130 + 30 * DAY_S, steady=190)
    assert clock.holds(steady=130 + DAY_S - 1)
    assert not clock.holds(steady=130 + DAY_S)


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    clock = SteadyClock(tolerance_s=3600, hold_s=DAY_S)
    clock.jumped(wall=30 * DAY_S, steady=10)
    assert not clock.jumped(wall=0, steady=70)
    assert not clock.holds(steady=70)


def test_a_new_file_that_another_process_takes_for_a_left_one_is_created_again(
    folder: AuditFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    swept: list[bool] = []

    def lock_behind_another(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(True)
            assert AuditFolder(folder.path).close_left() == 1
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_behind_another)
    descriptor, path = folder.create(".jsonl")
    assert path.exists()
    assert [file.path for file in folder.files()] == [path]
    os.close(descriptor)


def test_a_new_file_that_another_process_has_locked_is_created_again(
    folder: AuditFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    others: list[int] = []

    def lock_behind_another(descriptor: int, operation: int) -> None:
        if not others:
            (file,) = folder.files()
            others.append(os.open(file.path, os.O_RDONLY))
            lock(others[0], fcntl.LOCK_EX)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_behind_another)
    descriptor, path = folder.create(".jsonl")
    assert path in [file.path for file in folder.files()]
    os.close(descriptor)
    os.close(others[0])
