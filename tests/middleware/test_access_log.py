"""Access lines: the fields of a request, whatever its texts contain."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.gate import QueueWait
from gateway.auth.principal import Principal
from gateway.exchange import Exchange
from gateway.middleware.access_log import AccessLog
from gateway.outcome import EndReason, Failure
from gateway.session import By, SessionTally
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.logs.logger import make_logger
from gateway.telemetry.traces.recording import Trace
from gateway.usage import Usage

NASTY = st.sampled_from('\r\n\0\x1b\x7f\u2028\u202e"\\{}:,')
TEXTS = st.text(st.characters(exclude_categories=()) | NASTY)


def ended(end: EndReason = EndReason.COMPLETE, /, **known: Any) -> Exchange:
    exchange = Exchange("POST", "192.0.2.1", trusted_peer=False)
    exchange.request_id, exchange.path, exchange.status = "0123abcd", "/v1/chat/completions", 200
    exchange.end_reason = end
    for name, value in known.items():
        setattr(exchange, name, value)
    return exchange


def line(exchange: Exchange, *, console: bool = False, control: LogControl | None = None) -> bytes:
    lines: list[bytes] = []
    logger = make_logger(lines.append, level="info", console=console, control=control)
    AccessLog(logger.bind(worker=1), control).on_report([exchange])
    return b"".join(lines)


async def test_an_access_line_has_no_query_and_no_header() -> None:
    lines: list[bytes] = []
    exchange = Exchange("GET", "192.0.2.1", trusted_peer=False)
    exchange.path, exchange.query = "/v1/models", "key=canary"
    exchange.forwarded = b"X-Forwarded-For: canary\r\n"
    exchange.response_headers.append(("Set-Cookie", "canary"))
    exchange.end(EndReason.COMPLETE)
    AccessLog(make_logger(lines.append, level="info", console=False)).on_report([exchange])
    (line,) = lines
    assert json.loads(line)["path"] == "/v1/models"
    assert None not in json.loads(line).values(), "what is not known is left out"
    assert b"canary" not in line


def test_all_fields_are_written_in_their_order() -> None:
    trace = Trace("ab" * 16, sampled=True)
    tally = SessionTally()
    tally.messages_in, tally.messages_out = 3, 4
    tally.closed(1001, By.UPSTREAM)
    exchange = ended(
        EndReason.TIMEOUT,
        trace=trace,
        route="chat",
        delegated=SimpleNamespace(request_id="session"),
        principal=Principal("ada", "idp", tenant="acme"),
        model="m",
        continued=1,
        served="n",
        fallbacks=["m: 500", "é: 429"],
        upstream="up",
        endpoint="http://up:1",
        attempts=2,
        status=504,
        failure=Failure("timeout", 'it said "no"', "l", 3),
        bytes_in=10,
        bytes_out=20,
        bytes_saved=5,
        usage=Usage(7, 8),
        queued=QueueWait(2, 0.5),
        session=SimpleNamespace(tally=tally),
    )
    exchange.first_byte_at = exchange.started_at + 0.0125
    exchange.first_token_at = exchange.started_at + 0.013
    found = json.loads(line(exchange))
    assert isinstance(found.pop("duration_ms"), float)
    assert found.pop("time").endswith("Z")
    assert list(found.items()) == [
        ("worker", 1),
        ("request_id", "0123abcd"),
        ("trace_id", "ab" * 16),
        ("client", "192.0.2.1"),
        ("method", "POST"),
        ("path", "/v1/chat/completions"),
        ("route", "chat"),
        ("bridge", "session"),
        ("subject", "ada"),
        ("tenant", "acme"),
        ("model", "m"),
        ("continued", 1),
        ("served", "n"),
        ("fallbacks", ["m: 500", "é: 429"]),
        ("upstream", "up"),
        ("endpoint", "http://up:1"),
        ("attempts", 2),
        ("status", 504),
        ("error", "timeout"),
        ("reason", 'it said "no"'),
        ("limit", "l"),
        ("retry_after_s", 3),
        ("end", "timeout"),
        ("bytes_in", 10),
        ("bytes_out", 20),
        ("bytes_saved", 5),
        ("tokens_in", 7),
        ("tokens_out", 8),
        ("queue_position", 2),
        ("queue_ms", 500.0),
        ("first_byte_ms", 12.5),
        ("ttft_ms", 13.0),
        ("messages_in", 3),
        ("messages_out", 4),
        ("close_code", 1001),
        ("closed_by", "upstream"),
        ("event", "request"),
        ("level", "info"),
    ]


def test_the_least_that_is_known_makes_a_line() -> None:
    found = json.loads(line(ended(status=None, end_reason=None)))
    assert set(found) == {
        *("worker", "request_id", "client", "method", "path", "bytes_in", "bytes_out"),
        *("duration_ms", "event", "level", "time"),
    }


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_of_a_caller_breaks_out_of_its_field(path: str, subject: str, model: str) -> None:
    exchange = ended(path=path, method=model, model=model, principal=Principal(subject, "idp"))
    data = line(exchange)
    assert re.fullmatch(rb"[\x20-\x7e]+\n", data)
    found = json.loads(data)
    assert found["event"] == "request"
    assert found["method"] == model
    assert set(found) == {
        *("worker", "request_id", "client", "method", "path", "subject", "model", "status", "end"),
        *("bytes_in", "bytes_out", "duration_ms", "event", "level", "time"),
    }


@pytest.mark.parametrize("console", [True, False])
@pytest.mark.parametrize("field", ["path", "model", "served", "reason", "limit", "code"])
@pytest.mark.parametrize("length", [0, 1000])
def test_a_secret_in_any_text_is_masked(console: bool, field: str, length: int) -> None:
    text = f"{'x' * length} Bearer canary-token-1234"
    said = {"code": "e", "reason": None, field: text}
    failure = Failure(said["code"], said["reason"], said.get("limit"))
    known = {field: text} if field in ("path", "model", "served") else {}
    data = line(ended(**known, failure=failure), console=console)
    assert data
    assert b"canary" not in data


def test_a_secret_of_a_caller_or_a_fallback_is_masked() -> None:
    secret = "gw-canary1234567"
    principal = Principal(secret, "idp", tenant=secret)
    assert b"canary" not in line(ended(principal=principal, fallbacks=[secret]))


def test_the_console_shows_the_same_request() -> None:
    data = line(ended(model="\u202em", upstream="up"), console=True)
    assert b" 200 POST  /v1/chat/completions" in data
    assert data.endswith(b"0123abcd\n")
    assert "\u202e".encode() not in data


def test_a_sampled_log_has_every_failure() -> None:
    control = LogControl(sample=0.0)
    assert not line(ended(), control=control)
    assert line(ended(status=429), control=control)
    assert line(ended(EndReason.CLIENT_ABORT), control=control)
    control.set("warning", 1.0)
    assert not line(ended(status=500), control=control)


def test_lines_of_requests_that_are_reported_together_are_written_in_order() -> None:
    written: list[bytes] = []
    log = AccessLog(make_logger(written.append, level="info", console=False))
    log.on_report([ended(request_id=str(number)) for number in range(3)])
    (lines,) = written
    assert [json.loads(line)["request_id"] for line in lines.splitlines()] == ["0", "1", "2"]


def test_lines_before_one_that_fails_are_written() -> None:
    written: list[bytes] = []
    log = AccessLog(make_logger(written.append, level="info", console=False))
    broken = ended(started_at=None)
    left = iter([ended(request_id="a"), broken, ended(request_id="b")])
    with pytest.raises(TypeError):
        log.on_report(left)
    log.on_report(left)
    assert [json.loads(line)["request_id"] for line in written] == ["a", "b"]


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0, 0.0), (0.0000004, 0.0), (0.0123456, 12.346), (1.5, 1500.0), (86_400.0, 86_400_000.0)],
)
def test_durations_are_milliseconds_rounded_to_the_microsecond(
    seconds: float, milliseconds: float
) -> None:
    exchange = ended(started_at=0.0, ended_at=seconds)
    assert json.loads(line(exchange))["duration_ms"] == milliseconds


def test_the_words_of_a_relayed_refusal_are_told_though_no_error_is_the_gateways() -> None:
    exchange = ended(
        EndReason.COMPLETE, upstream="up", status=400, failure=Failure(None, "no such model")
    )
    assert json.loads(line(exchange))["reason"] == "no such model"


@pytest.mark.parametrize("first_byte_s", [None, 0.0012344])
@pytest.mark.parametrize("first_token_s", [None, 0.1])
def test_the_times_that_are_known_are_written_in_their_order(
    first_byte_s: float | None, first_token_s: float | None
) -> None:
    known = {"first_byte_at": first_byte_s, "first_token_at": first_token_s}
    data = line(ended(started_at=0.0, ended_at=1.5, **known)).decode()
    first_byte = "" if first_byte_s is None else ',"first_byte_ms":1.234'
    ttft = "" if first_token_s is None else ',"ttft_ms":100.000'
    assert f',"bytes_out":0{first_byte}{ttft},"duration_ms":1500.000,"event"' in data
