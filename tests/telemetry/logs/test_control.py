"""What is written of the log, while it runs."""

from __future__ import annotations

import json

import pytest

from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.logs.logger import make_logger


def test_the_level_changes_for_a_logger_that_is_there() -> None:
    lines: list[bytes] = []
    control = LogControl("warning")
    logger = make_logger(lines.append, level="warning", console=False, control=control).bind(w=1)
    logger.info("no")
    control.set("debug", 1.0)
    logger.debug("yes")
    control.set("error", 1.0)
    logger.warning("no")
    try:
        raise ValueError
    except ValueError:
        logger.exception("failed")
    assert [json.loads(line)["event"] for line in lines] == ["yes", "failed"]


@pytest.mark.parametrize(("sample", "kept"), [(1.0, 1000), (0.0, 0)])
def test_lines_of_requests_that_went_well_are_sampled(sample: float, kept: int) -> None:
    control = LogControl(sample=sample)
    assert sum(control.wants_access(200, complete=True) for _ in range(1000)) == kept


def test_about_the_share_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rolls = iter([0.1, 0.3, 0.29, 0.9])
    monkeypatch.setattr("gateway.telemetry.logs.control.random.random", lambda: next(rolls))
    control = LogControl(sample=0.3)
    assert [control.wants_access(200, complete=True) for _ in range(4)] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("status", "complete"), [(500, True), (404, True), (429, True), (200, False), (None, False)]
)
def test_what_went_wrong_is_always_written(status: int | None, complete: bool) -> None:
    assert LogControl(sample=0.0).wants_access(status, complete=complete)


def test_above_info_no_request_is_written() -> None:
    assert not LogControl("warning").wants_access(500, complete=False)
