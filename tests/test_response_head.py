"""Response heads as bytes of HTTP/1.1."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.exchange import Exchange
from gateway.response_head import fields_of_exchange, http_head

SOURCE = Path(__file__).parents[1] / "gateway"


def exchange() -> Exchange:
    made = Exchange("GET", "127.0.0.1", trusted_peer=False)
    made.request_id, made.id_line = "r1", b"X-Request-ID: r1\r\n"
    made.response_headers.append(("Vary", "Origin"))
    return made


def test_a_head_has_a_status_line_its_fields_and_one_blank_line() -> None:
    assert http_head(200, "OK", b"A: b\r\n", True) == b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"


def test_a_head_says_that_the_connection_closes() -> None:
    assert http_head(404, "Not Found", b"", False) == (
        b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"
    )


def test_a_reason_outside_latin_1_does_not_break_the_head() -> None:
    assert http_head(299, "\u2713", b"", True) == b"HTTP/1.1 299 ?\r\n\r\n"


def test_a_head_has_the_fields_that_every_response_to_the_request_has() -> None:
    head = http_head(200, "OK", b"A: b\r\n", True, exchange())
    assert head == b"HTTP/1.1 200 OK\r\nA: b\r\nVary: Origin\r\nX-Request-ID: r1\r\n\r\n"
    assert fields_of_exchange(exchange()) == [("X-Request-ID", "r1"), ("Vary", "Origin")]


def test_no_other_file_renders_a_status_line() -> None:
    """The demo is a backend, and an interim response has no fields."""
    rendered = re.compile(r'"HTTP/1\.1 (%d|\{|[02-9]|1(?!00))')
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if "demo" not in path.parts and rendered.search(path.read_text())
    }
    assert found == {"response_head.py", "upstream/head.py"}  # the latter reads one
