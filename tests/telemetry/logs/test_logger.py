"""Log lines: one JSON object each, whatever is in them."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import select
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.secrets import Secret
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.logs.logger import (
    LogWriter,
    in_pieces,
    line_writer,
    make_logger,
    write_cap_bytes,
)


def logged(event: str, **fields: object) -> bytes:
    lines: list[bytes] = []
    make_logger(lines.append, level="info", console=False).info(event, **fields)
    return b"".join(lines)


@given(st.text(), st.dictionaries(st.from_regex(r"x_[a-z]{1,8}", fullmatch=True), st.text()))
def test_no_value_breaks_out_of_its_line(event: str, fields: dict[str, str]) -> None:
    data = logged(event, **fields)
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    line = json.loads(data)
    assert set(fields) <= set(line)


def test_a_line_has_its_level_and_time() -> None:
    line = json.loads(logged("x", status=200))
    assert (line["event"], line["level"], line["status"]) == ("x", "info", 200)
    assert line["time"].endswith("Z")


def test_lines_below_the_level_are_not_written() -> None:
    lines: list[bytes] = []
    logger = make_logger(lines.append, level="warning", console=False)
    logger.info("no")
    logger.warning("yes")
    assert [json.loads(line)["event"] for line in lines] == ["yes"]


def test_an_exception_is_one_line_too() -> None:
    lines: list[bytes] = []
    logger = make_logger(lines.append, level="info", console=False)
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logger.exception("failed")
    (line,) = lines
    assert line.count(b"\n") == 1
    assert "first\nsecond" in json.loads(line)["exception"]


@pytest.mark.parametrize("console", [True, False])
def test_the_console_says_the_same_in_words(console: bool) -> None:
    lines: list[bytes] = []
    make_logger(lines.append, level="info", console=console).info("refused", status=418)
    assert b"refused" in lines[0]
    assert b"418" in lines[0]


def test_what_is_gathered_is_written_in_order_at_the_latest_on_close() -> None:
    stream = io.BytesIO()
    writer = LogWriter(stream)
    for number in range(1000):
        writer(b"%d\n" % number)
    writer.close()
    assert stream.getvalue().split() == [b"%d" % number for number in range(1000)]


# -- injection -------------------------------------------------------------------------------------

controls = "\r\n\t\0\x07\x08\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\ufeff"
nasty = st.text(st.sampled_from(controls + "a [31m\"\\'={}é\U0001f600"))


@given(nasty, nasty)
def test_a_line_is_printable_ascii_and_means_what_was_logged(event: str, value: str) -> None:
    data = logged(event, value=value)
    assert re.fullmatch(rb"[\x20-\x7e]+\n", data)
    line = json.loads(data)
    assert (line["event"], line["value"]) == (event, value)


@given(nasty)
def test_no_field_forges_another(value: str) -> None:
    line = json.loads(logged("request", subject=value, status=200))
    assert set(line) == {"subject", "status", "event", "level", "time"}
    assert line["status"] == 200


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("console", [True, False])
def test_a_secret_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: bool
) -> None:
    monkeypatch.setenv("CANARY", "canary-7f3a")
    secret = Secret.model_validate({"env": "CANARY"}, context={"base": tmp_path})
    assert secret.reveal() == b"canary-7f3a"
    lines: list[bytes] = []
    logger = make_logger(lines.append, level="info", console=console)
    logger.info("x", secret=secret, nested=[{"secret": secret}])
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("failed")
    assert len(lines) == 2
    assert b"canary" not in b"".join(lines)


# -- the writer ------------------------------------------------------------------------------------


class Blocked(io.BytesIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.release = threading.Event(), threading.Event()

    def write(self, data: object, /) -> int:
        self.entered.set()
        self.release.wait(10)
        return super().write(data)  # type: ignore[arg-type]


def test_a_blocked_stream_blocks_nobody_and_what_is_lost_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.telemetry.logs.logger._BACKLOG_CAP_BYTES", 1000)
    stream = Blocked()
    writer = LogWriter(stream)
    writer(b"first\n")
    assert stream.entered.wait(5)
    for _ in range(500):
        writer(b"x" * 9 + b"\n")
    stream.release.set()
    writer.close()
    kept = stream.getvalue().count(b"\n") - 1
    assert 100 <= kept <= 101
    assert writer.dropped == 500 - kept


def test_a_stream_that_fails_raises_nothing_and_its_lines_are_counted() -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    threads = threading.active_count()
    writer = LogWriter(Full())
    for _ in range(3):
        writer(b"x\n")
    writer.close()
    assert writer.dropped == 3
    assert threading.active_count() == threads


@pytest.mark.parametrize("value", ["\ud800\x7f", 2**80])
def test_any_value_makes_a_printable_line(value: object) -> None:
    assert re.fullmatch(rb"[\x20-\x7e]+\n", logged("x", value=value))


@pytest.mark.parametrize("value", ["\x1b[2J", "\x07", "a\0b", "\x7f"])
def test_no_value_steers_the_console(value: str) -> None:
    lines: list[bytes] = []
    make_logger(lines.append, level="info", console=True).info("request", value=value)
    assert re.sub(r"\x1b\[[0-9;]*m", "", lines[0].decode().rstrip("\n")).isprintable()
    assert value.encode() not in lines[0]


def test_nor_does_an_exception() -> None:
    lines: list[bytes] = []
    try:
        raise ValueError("\x1b]0;x\x07")
    except ValueError:
        make_logger(lines.append, level="info", console=True).exception("failed")
    assert b"\x1b]0;" not in lines[0]


# -- lines from prepared members -------------------------------------------------------------------


@pytest.mark.parametrize("console", [True, False])
def test_a_line_of_members_equals_a_line_of_fields(console: bool) -> None:
    lines: list[bytes] = []
    logger = make_logger(lines.append, level="info", console=console).bind(worker=3)
    logger.info("request", status=200, path="/\x1b", bytes_in=5)
    line_writer(logger, "request")(['"status":200,"path":"/\\u001b","bytes_in":5'])
    fields, members = (re.sub(rb"\d{4}-[-\d:.T]+Z|\d\d:\d\d:\d\d", b"", line) for line in lines)
    assert members == fields


def test_a_line_of_members_obeys_the_level_at_run_time() -> None:
    lines: list[bytes] = []
    control = LogControl()
    write = line_writer(
        make_logger(lines.append, level="info", console=False, control=control), "request"
    )
    control.set("warning", 1.0)
    write(['"status":200'])
    assert lines == []
    control.set("info", 1.0)
    write(['"status":200'])
    assert len(lines) == 1


def test_lines_of_members_that_come_together_are_one_write() -> None:
    written: list[bytes] = []
    logger = make_logger(written.append, level="info", console=False).bind(worker=3)
    line_writer(logger, "request")(['"status":200', '"status":201'])
    (lines,) = written
    first, second = map(json.loads, lines.splitlines())
    assert (first.pop("status"), second.pop("status")) == (200, 201)
    assert first == second
    assert set(first) == {"worker", "event", "level", "time"}


def test_a_line_of_members_has_the_time_of_its_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[bytes] = []
    write = line_writer(make_logger(lines.append, level="info", console=False), "request")
    for now_ns in (999_999_999, 1_000_000_000, 1_000_001_999, 999_000_000):
        monkeypatch.setattr("time.time_ns", lambda now_ns=now_ns: now_ns)
        write(['"status":200'])
    assert [json.loads(line)["time"] for line in lines] == [
        "1970-01-01T00:00:00.999999Z",
        "1970-01-01T00:00:01.000000Z",
        "1970-01-01T00:00:01.000001Z",
        "1970-01-01T00:00:00.999000Z",
    ]


def test_writes_to_a_pipe_are_atomic_and_those_to_a_file_are_few(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    lines = [b"x" * 99 + b"\n"] * 1000
    with open(reading, "rb"), open(writing, "wb") as pipe, open(tmp_path / "log", "wb") as file:
        for stream, most in ((pipe, select.PIPE_BUF), (file, 64 * 1024)):
            pieces = list(in_pieces(lines, write_cap_bytes(stream)))
            assert b"".join(pieces) == b"".join(lines)
            assert most - 100 < max(map(len, pieces)) <= most


@given(st.lists(st.lists(st.integers(1, 30), min_size=1)), st.integers(1, 40))
def test_pieces_hold_all_lines_whole_and_in_order(groups: list[list[int]], cap_bytes: int) -> None:
    lines = [b"".join(b"x" * (size - 1) + b"\n" for size in sizes) for sizes in groups]
    pieces = list(in_pieces(lines, cap_bytes))
    assert b"".join(pieces) == b"".join(lines)
    for data in pieces:
        assert data.endswith(b"\n")
        assert len(data) <= cap_bytes or data.count(b"\n") == 1


@given(st.lists(st.integers(1, 30)), st.integers(1, 40))
def test_no_piece_is_cut_without_need(sizes: list[int], cap_bytes: int) -> None:
    pieces = list(in_pieces([b"x" * (size - 1) + b"\n" for size in sizes], cap_bytes))
    for data, following in itertools.pairwise(pieces):
        first_line = following.split(b"\n")[0]
        assert len(data) + len(first_line) + 1 > cap_bytes
