"""The access line and the record of a request, each made from the other."""

from __future__ import annotations

from typing import Any

from gateway.telemetry.traces.log_line import line_of, record_of
from gateway.telemetry.traces.verdict import verdict
from tests.support.records import attempt, record


def test_a_line_has_what_the_record_has_and_no_field_without_a_value() -> None:
    line = line_of(record(queue_s=0.0125, queue_position=3))
    assert line == {
        **{"time": "2027-01-15T08:00:02.000000Z", "level": "info", "event": "request"},
        **{"trace_id": record()["trace"], "request_id": "r-1", "client": "192.0.2.1"},
        **{"method": "POST", "path": "/v1/chat/completions", "route": "openai"},
        **{"subject": "ann", "tenant": "acme", "model": "llama", "upstream": "main"},
        **{"endpoint": "http://10.0.0.5:8000", "status": 200, "end": "complete"},
        **{"bytes_in": 100, "bytes_out": 900, "tokens_in": 9, "tokens_out": 30},
        **{"queue_position": 3, "queue_ms": 12.5, "first_byte_ms": 500.0, "ttft_ms": 600.0},
        "duration_ms": 2000.0,
    }


def the_same_verdict(**changes: Any) -> str:
    """Return the text of a verdict, which has to be the same from record and line."""
    whole = record(**changes)
    by_line = verdict(record_of(line_of(whole)))
    assert by_line == verdict(whole)
    return by_line.text


def test_a_line_is_judged_as_its_record() -> None:
    early: dict[str, Any] = {"first_byte_s": None, "ttft_s": None, "tokens_out": None}
    nowhere: dict[str, Any] = {"upstream": None, "endpoint": None, "attempts": [], **early}
    the_same_verdict()
    the_same_verdict(streamed=False, ttft_s=2.0)
    the_same_verdict(error="rate_limit_exceeded", limit="l", retry_after_s=3, **nowhere)
    reason = "corp: ExpiredSignatureError: exp is 1799999990"
    assert "12 s before" not in the_same_verdict(error="invalid_api_key", reason=reason, **nowhere)
    the_same_verdict(
        status=500, reason="CUDA out of memory", attempts=[attempt(1, 0, 1, status=500)]
    )
    the_same_verdict(end="client_abort", s=3.1, ttft_s=None, tokens_out=None)
    the_same_verdict(end="upstream_reset", error="upstream_reset", continued=1)
    dead = [attempt(n, 0.1, 0.2, outcome="upstream_connect_failed", status=0) for n in (1, 2, 3)]
    changes = {"error": "upstream_connect_failed", "status": 502, "attempts": dead, **early}
    assert the_same_verdict(**changes).endswith("All 3 attempts failed.")
    again = [attempt(1, 0.0, 0.1, outcome="upstream_reset"), attempt(2, 0.1, 0.4)]
    assert the_same_verdict(attempts=again).endswith("1 attempt failed before.")


def test_a_line_of_another_form_is_judged_without_failing() -> None:
    assert verdict(record_of({})).text.startswith("It succeeded")
    assert verdict(record_of({"time": 5, "status": 502})).text
