"""The parsers of the clients that reconnect, in JavaScript and in Python: both understand a stream
as a browser does, however its bytes are split.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, example, given, settings

from examples.gateway_client import EventParser
from tests.support import sse_reference
from tests.support.sse_streams import BOM, cut_streams, pieces

TESTS = Path(__file__).parents[1]
RECORDED = sorted((TESTS / "dialects/fixtures").rglob("*.sse"))
Reading = sse_reference.Reading


class Parse(Protocol):
    """Parser under test: from the pieces of a stream to what a client understands."""

    def __call__(self, parts: Sequence[bytes]) -> Reading: ...


def parsed_by_python(parts: Sequence[bytes]) -> Reading:
    parser = EventParser()
    events = [event for part in parts for event in parser.feed(part)]
    messages = [sse_reference.Message(one.type, one.data, one.id) for one in events]
    return Reading(messages, parser.id, parser.retry_ms)


@pytest.fixture(scope="module")
def parsed_by_node() -> Iterator[Parse]:
    command = ("node", str(TESTS / "node/events.mjs"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answered = process.stdin, process.stdout

        def parse(parts: Sequence[bytes]) -> Reading:
            asked.write(json.dumps([base64.b64encode(part).decode() for part in parts]).encode())
            asked.write(b"\n")
            asked.flush()
            found = json.loads(answered.readline())
            messages = [sse_reference.Message(*event) for event in found["events"]]
            return Reading(messages, found["id"], found["retry"])

        yield parse
        asked.close()


@pytest.fixture(params=["javascript", "python"])
def parse(request: pytest.FixtureRequest, parsed_by_node: Parse) -> Parse:
    return parsed_by_python if request.param == "python" else parsed_by_node


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut_streams())
@example([b"data: 1\r\n\r", b"\ndata: 2\r", b"\n", b"\r\n"])
@example([BOM[:1], BOM[1:] + b"\n", b"data: 1\n", b"\n"])
@example([b"data: 1\r", b"", b"\n\n"])
@example([b"retry: 5\nid: a\n", b"\n", b"id\n\nid: b\n"])
def test_any_stream_is_understood_as_by_a_browser(parse: Parse, parts: list[bytes]) -> None:
    assert parse(parts) == sse_reference.read(b"".join(parts))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_recorded_streams_are_the_same_wherever_they_are_split(parse: Parse, file: Path) -> None:
    body = file.read_bytes()
    expected = sse_reference.read(body)
    assert expected.messages
    for size in (1, 2, 3, 7, len(body)):
        assert parse(pieces(body, size)) == expected
    head = body[:400]
    for at in range(len(head)):
        assert parse([head[:at], head[at:]]) == sse_reference.read(head)


def test_an_event_ends_with_its_blank_line_even_if_that_is_a_lone_cr(parse: Parse) -> None:
    assert [one.data for one in parse([b"data: 1\r\r"]).messages] == ["1"]


def test_a_long_line_in_small_pieces_takes_linear_time(parse: Parse) -> None:
    line = b"data: " + 2_000_000 * b"x" + b"\n\n"
    [message] = parse(pieces(line, 100)).messages
    assert len(message.data) == 2_000_000
