"""Log lines: one JSON object each, whatever is in them."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.logs import StreamWriter, make_logger


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
    make_logger(lines.append, level="info", console=console).info("request", status=418)
    assert b"request" in lines[0]
    assert b"418" in lines[0]


def test_what_is_gathered_is_written_in_order_at_the_latest_on_close() -> None:
    stream = io.BytesIO()
    writer = StreamWriter(stream)
    for number in range(1000):
        writer(b"%d\n" % number)
    writer.close()
    assert stream.getvalue().split() == [b"%d" % number for number in range(1000)]
