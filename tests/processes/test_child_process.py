"""Report of a child to its master, over a pipe."""

from __future__ import annotations

import os

import pytest

from gateway.processes.child import report_failure, report_ready
from gateway.processes.child_process import Child, Report


@pytest.fixture
def child() -> Child:
    return Child("worker 0", (), lambda _: None)


def test_a_ready_child_reports_its_url(child: Child) -> None:
    child.status, pipe = os.pipe()
    report_ready(pipe, "http://127.0.0.1:8081")
    assert child.read_status() == Report(True, "http://127.0.0.1:8081", 0)
    assert (child.ready, child.where, child.status) == (True, "http://127.0.0.1:8081", -1)


def test_a_failed_start_is_reported_with_its_reason_and_exit_code(child: Child) -> None:
    child.status, pipe = os.pipe()
    report_failure(pipe, "config.yaml:3:1: unknown key", 1)
    os.close(pipe)
    assert child.read_status() == Report(False, "config.yaml:3:1: unknown key", 1)
    assert not child.ready


def test_a_child_that_ends_without_a_report_has_none(child: Child) -> None:
    child.status, pipe = os.pipe()
    os.close(pipe)
    assert child.read_status() is None
    assert child.status == -1


def test_only_ends_soon_after_a_start_count_as_failed_starts(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    child.pid, child.started_at = 7, 995.0
    child.count_death()
    assert (child.pid, child.deaths) == (0, 1)
    child.started_at = 900.0
    child.count_death()
    assert child.deaths == 0
