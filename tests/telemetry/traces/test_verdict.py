"""The verdict on a request: what happened, whose fault it is, what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.errors import NOBODY_READS
from gateway.outcome import EndReason
from gateway.telemetry.traces.verdict import under_way, verdict
from gateway.telemetry.traces.verdict_words import words_of_errors
from gateway.telemetry.traces.wording import Fault
from tests.support.records import attempt, record
from tests.support.verdicts import BEFORE, BY_END, BY_ERROR


def judged(**changes: Any) -> tuple[str, Fault]:
    found = verdict(record(**changes))
    return found.text, found.fault


def failed_early(code: str, status: int, **changes: Any) -> tuple[str, Fault]:
    """Of a request that got an error response."""
    nothing = {"first_byte_s": None, "ttft_s": None, "tokens_in": None, "tokens_out": None}
    return judged(**{"error": code, "status": status, "attempts": [], **nothing, **changes})


# -- every outcome has words ----------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(words_of_errors()))
def test_the_verdict_on_every_error(code: str) -> None:
    found = verdict(record(error=code, **BEFORE))
    assert (found.fault, found.text) == BY_ERROR[code]
    assert BY_ERROR.keys() == words_of_errors().keys()


@pytest.mark.parametrize("end", EndReason)
def test_the_verdict_on_every_end(end: EndReason) -> None:
    found = verdict(record(end=end.value, s=3.1))
    assert (found.fault, found.text) == BY_END[end]


@pytest.mark.parametrize("code", sorted(words_of_errors()))
@pytest.mark.parametrize("phase", ["before", "within"])
def test_the_words_of_every_error_are_one_plain_sentence(code: str, phase: str) -> None:
    known = {"first_byte_s": None, "ttft_s": None} if phase == "before" else {}
    for more in ({}, {"reason": "It is so.", "limit": "l", "retry_after_s": 3, "upstream": None}):
        found = verdict(record(error=code, **{**known, **more}))
        for text in (found.text, found.remedy):
            assert re.fullmatch(r"(?:[A-Zx`'].*[.])?", text), text
            assert not re.search(r"[{}]|None|\.\.(?!')|: \.|  ", text.replace("'..'", "")), text
        assert found.fault is not Fault.NOBODY


# -- what they say --------------------------------------------------------------------------------


def test_a_success_says_when_the_first_token_came_and_how_fast_the_others() -> None:
    assert judged(ttft_s=0.4, s=1.4, tokens_out=62) == (
        "It succeeded: first token after 0.4 s, 61 tokens/s.",
        Fault.NOBODY,
    )


def test_an_answer_in_one_piece_says_how_long_it_took() -> None:
    text, _ = judged(streamed=False, s=1.25, ttft_s=1.25, tokens_out=7)
    assert text == "It succeeded: answered in 1.2 s, 7 tokens."


def test_a_success_of_another_model_or_after_failures_says_so() -> None:
    text, fault = judged(model="a", served="b", fallbacks=["a: status 500"])
    assert text.endswith("Model 'b' answered instead of 'a'.")
    text, _ = judged(attempts=[attempt(1, 0, 0.1, outcome="upstream_reset"), attempt(2, 0.1, 0.4)])
    assert text.endswith("1 attempt failed before.")
    assert fault is Fault.NOBODY


def test_a_session_that_ended_well_says_how_long_it_was() -> None:
    text, fault = judged(status=101, s=200.0, ttft_s=None)
    assert (text, fault) == ("A WebSocket session of 3 min 20 s ended well.", Fault.NOBODY)


def test_a_slow_success_says_where_the_time_went() -> None:
    slow = {"kept": "slow", "ttft_s": 12.0, "s": 14.0, "attempts": [attempt(1, 10.2, 12.0)]}
    text, fault = judged(**slow, queue_s=10.0, queue_position=4)
    assert text.endswith("It was slow: 10 s passed in the queue.")
    assert fault is Fault.CONFIGURATION
    text, fault = judged(**slow)
    assert text.endswith("12 s passed at the backend.")
    assert fault is Fault.BACKEND


def test_a_limit_is_named_with_the_time_to_wait() -> None:
    assert failed_early("rate_limit_exceeded", 429, limit="per-tenant", retry_after_s=12) == (
        "Limit 'per-tenant' refused it; wait 12 s.",
        Fault.CLIENT,
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 s"), (75, "75 s"), (150, "2 min 30 s"), (3600, "60 min"), (86_400, "24 h")],
)
def test_times_are_told_in_units_that_people_use(seconds: int, text: str) -> None:
    told, _ = failed_early("rate_limit_exceeded", 429, limit="l", retry_after_s=seconds)
    assert told == f"Limit 'l' refused it; wait {text}."


def test_the_backends_own_words_are_said() -> None:
    answered = [attempt(1, 0.1, 0.4, status=500)]
    assert judged(status=500, reason="CUDA out of memory.", attempts=answered) == (
        "Backend 'main' answered with status 500: CUDA out of memory.",
        Fault.BACKEND,
    )


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (400, Fault.CLIENT),
        (401, Fault.CONFIGURATION),
        (404, Fault.CONFIGURATION),
        (418, Fault.CLIENT),
        (429, Fault.BACKEND),
        (503, Fault.BACKEND),
    ],
)
def test_whose_fault_a_backends_status_is(status: int, fault: Fault) -> None:
    assert judged(status=status, attempts=[attempt(1, 0.1, 0.4, status=status)])[1] is fault


def test_an_error_that_a_backend_told_by_a_code_of_its_own_is_the_backends() -> None:
    own = {"error": "exceed_context_size_error", "reason": "too long", "status": 400}
    assert judged(**own) == (
        "Backend 'main' answered with status 400 (exceed_context_size_error): too long.",
        Fault.CLIENT,
    )


def test_an_error_that_a_backend_told_is_judged_by_its_status() -> None:
    told = {"error": "backend_error", "reason": "bad schema"}
    assert judged(**told, status=400) == (
        "Backend 'main' answered with status 400: bad schema.",
        Fault.CLIENT,
    )
    text, fault = judged(**told, tokens_out=3)
    assert text == "Backend 'main' reported an error after 3 tokens: bad schema."
    assert fault is Fault.BACKEND


def test_a_full_queue_names_the_gate_and_the_time_to_wait() -> None:
    assert failed_early("queue_full", 503, reason="llama", retry_after_s=3) == (
        "Too many requests wait for 'llama' already; wait 3 s.",
        Fault.CONFIGURATION,
    )


def test_a_plug_ins_answer_is_not_the_backends() -> None:
    text, fault = failed_early("http_451", 451, upstream=None, reason="Not for you.")
    assert text == "The gateway answered with status 451 (http_451): Not for you."
    assert fault is Fault.CLIENT


def test_a_refused_credential_says_what_was_there_and_what_was_expected() -> None:
    reason = "corp: InvalidAudienceError: aud is 'billing', expected one of ['llm']"
    assert failed_early("invalid_api_key", 401, upstream=None, reason=reason) == (
        "The token's `aud` is 'billing', expected 'llm' (provider 'corp').",
        Fault.CLIENT,
    )


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (
            "connect",
            "http://a.test: 5.0 s",
            "accepted no connection within `timeouts.connect` (5 s).",
        ),
        ("idle", "silent for 30.0 s", "for longer than `timeouts.idle` (30 s)."),
        ("idle", "no answer to a ping", "for longer than `timeouts.idle`."),
        ("first_byte", "no response head in time", "within `timeouts.first_byte` (60 s)."),
    ],
)
def test_a_timeout_says_how_long_it_was(code: str, reason: str, text: str) -> None:
    waited = [attempt(1, 0.5, 60.5, status=0, outcome="upstream_first_byte_timeout")]
    code = f"upstream_{code}_timeout"
    assert failed_early(code, 504, reason=reason, attempts=waited)[0].endswith(text)


def test_a_model_that_is_not_served_is_named() -> None:
    text, _ = failed_early("model_not_found", 404, model="gpt-9")
    assert text == "The route does not serve model 'gpt-9', or not to this caller."


def test_a_stream_that_its_client_left_is_not_cancelled_by_its_owner() -> None:
    left = {"error": "stream_cancelled", "end": "client_abort", "s": 3.1}
    assert judged(**left, reason=NOBODY_READS, ttft_s=None) == (
        "The client left, and nobody read the stream any more: the generation was cancelled "
        "after 3.1 s, before the first token.",
        Fault.CLIENT,
    )
    assert judged(**left)[0].endswith("by its owner.")


def test_a_known_message_of_a_backend_decides_on_fault_and_remedy() -> None:
    for code in (None, "backend_error"):
        found = verdict(
            record(error=code, status=500, reason="context length is 8192", end="complete")
        )
        assert found.fault is Fault.CLIENT
        assert "shorter prompt" in found.remedy
    found = verdict(record(error="upstream_rejected", reason="CUDA out of memory"))
    assert "admission.concurrency" in found.remedy


def test_a_success_mentions_a_long_pause_in_the_middle() -> None:
    text, fault = judged(gaps={"longest_s": 34.0, "last_s": 1.9})
    assert text.endswith(" In the middle, the backend sent nothing for 34 s.")
    assert fault is Fault.NOBODY
    assert "middle" not in judged(gaps={"longest_s": 1.0, "last_s": 1.9})[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"first_byte_s": None, "ttft_s": None},
            "The client left after 3.1 s, before the answer began.",
        ),
        ({"ttft_s": None}, "The client left after 3.1 s, before the first token."),
        ({"tokens_out": 12}, "The client left after 3.1 s, after 12 tokens."),
        (
            {"tokens_out": 1, "events": [["client_behind", 1.0, ""]]},
            "The client left after 3.1 s, after 1 token; it had stopped reading.",
        ),
    ],
)
def test_a_client_that_left_says_after_how_long_and_how_far(
    changes: dict[str, Any], text: str
) -> None:
    assert judged(end="client_abort", s=3.1, **changes) == (text, Fault.CLIENT)


def test_a_backend_that_breaks_off_says_after_how_many_tokens_and_that_nobody_went_on() -> None:
    broken = {"end": "upstream_reset", "error": "upstream_reset", "tokens_out": 12}
    assert judged(**broken) == (
        "Backend 'main' closed the connection after 12 tokens, and no other backend went on.",
        Fault.BACKEND,
    )
    assert "although another backend had gone on once" in judged(**broken, continued=1)[0]


def test_all_attempts_that_failed_are_counted() -> None:
    dead = [attempt(n, 0.1 * n, 0.1 * n, outcome="upstream_connect_failed") for n in (1, 2, 3)]
    text, _ = failed_early(
        "upstream_connect_failed", 502, attempts=dead, reason="connection refused"
    )
    assert text == "Backend 'main' cannot be reached: connection refused. All 3 attempts failed."


def test_a_long_reason_is_cut_and_braces_in_it_are_text() -> None:
    text, _ = failed_early("internal_error", 500, reason="{took} " + "x" * 1000)
    assert text.startswith("The gateway itself failed: {took} xxx")
    assert text.endswith("x….")
    assert len(text) < 400


# -- under way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "text", "fault"),
    [
        (
            "silent",
            "Backend 'main' has sent nothing for 45 s in the middle of its answer.",
            "backend",
        ),
        ("client_behind", "Backend 'main' has sent more than the client reads.", "client"),
        ("answering", "Backend 'main' sends its answer: first token after 0.4 s.", "nobody"),
        ("waiting", "Backend 'main' has not begun its answer; it was asked 45 s ago.", "nobody"),
        ("following", "It reads a kept stream, which another request began.", "nobody"),
        ("session", "A WebSocket session has been open for 50 s.", "nobody"),
        ("held", "It came 50 s ago and was not sent to a backend yet.", "nobody"),
    ],
)
def test_a_request_under_way_says_what_it_waits_for(state: str, text: str, fault: str) -> None:
    row = {"state": state, "age_s": 50.0, "silent_s": 45.0, "ttft_s": 0.4, "upstream": "main"}
    found = under_way(row)
    assert (found.text, found.fault) == (text, fault)


def test_a_stream_that_was_silent_from_the_beginning_says_so() -> None:
    row = {"state": "silent", "age_s": 50.0, "silent_s": 45.0, "ttft_s": None, "upstream": "main"}
    found = under_way(row)
    assert found.text == "Backend 'main' has sent nothing for 45 s, and no token before that."
    assert "`timeouts.first_byte`" in found.remedy
