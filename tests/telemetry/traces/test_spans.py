"""The spans of a request: which there are, how they hang together, what they say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.telemetry.semconv import NAMES, provider
from gateway.telemetry.traces.spans import Span, build
from tests.support.records import SPAN, attempt, record

NOW = NAMES["1.44"]


def spans(**changes: Any) -> dict[str, Span]:
    """By name; of several with one name, numbered."""
    found: dict[str, Span] = {}
    for span in build(record(**changes), NOW):
        name = span.name if span.name not in found else f"{span.name} {len(found)}"
        found[name] = span
    return found


def test_one_for_the_request_one_for_each_part_of_it() -> None:
    found = spans()
    assert list(found) == ["POST /v1/chat/completions", "auth", "limits", "chat llama", "stream"]
    server, call, stream = found["POST /v1/chat/completions"], found["chat llama"], found["stream"]
    assert (server.kind, call.kind, stream.kind) == ("server", "client", "internal")
    assert server.span_id == SPAN
    assert server.parent_id is None
    assert {found["auth"].parent_id, found["limits"].parent_id, call.parent_id} == {SPAN}
    assert stream.parent_id == call.span_id
    assert len({span.span_id for span in found.values()}) == 5
    assert all(len(span.span_id) == 16 for span in found.values())


def test_each_inside_the_one_around_it() -> None:
    found = spans()
    by_id = {span.span_id: span for span in found.values()}
    for span in found.values():
        assert span.start <= span.end
        if span.parent_id is not None:
            parent = by_id[span.parent_id]
            assert parent.start <= span.start
            assert span.end <= parent.end


def test_the_call_to_the_model_ends_with_its_answer() -> None:
    call = spans()["chat llama"]
    assert (call.start, call.end) == (1_800_000_000.1, 1_800_000_002.0)


def test_attributes_follow_the_conventions() -> None:
    found = spans(
        gaps={"pieces": 3, "longest_s": 0.1, "counts": [0] * 11, "stalls": [], "last_s": 1.9},
        said={"model": "llama-3.1", "id": "c-1", "finish": "stop"},
        cache_read=4,
    )
    assert found["POST /v1/chat/completions"].attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "llm.test",
        "client.address": "192.0.2.1",
        "http.request.body.size": 100,
        "http.response.body.size": 900,
        "enduser.id": "ann",
        "gateway.request_id": "r-1",
        "gateway.route": "openai",
        "gateway.tenant": "acme",
        "gateway.model": "llama",
        "gateway.upstream": "main",
        "gateway.end": "complete",
        "gateway.kept": "sampled",
    }
    assert found["chat llama"].attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "10.0.0.5",
        "server.port": 8000,
        "gateway.upstream": "main",
        "gateway.endpoint": "http://10.0.0.5:8000",
        "gateway.attempt.number": 1,
        "gateway.attempt.head_s": 0.3,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "llama",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "c-1",
        "gen_ai.response.model": "llama-3.1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gateway.response.time_to_first_token": 0.6,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 4,
    }


def test_names_that_are_being_renamed_can_be_had_already() -> None:
    one = record(cache_written=5)
    for version, name in (
        ("1.44", "gen_ai.usage.cache_creation.input_tokens"),
        ("next", "gen_ai.usage.cache_write.input_tokens"),
    ):
        (call,) = [span for span in build(one, NAMES[version]) if span.kind == "client"]
        assert call.attributes[name] == 5


def test_what_is_no_call_to_a_model_has_no_attributes_of_one() -> None:
    found = spans(path="/v1/files", model=None)
    assert not [name for name in found["POST"].attributes if name.startswith("gen_ai.")]


def test_a_method_nobody_knows_makes_no_name() -> None:
    assert "HTTP /v1/chat/completions" in spans(method="BREW")
    assert (
        spans(method="BREW")["HTTP /v1/chat/completions"].attributes["http.request.method"]
        == "_OTHER"
    )


def test_a_believed_caller_is_the_parent_another_is_linked() -> None:
    theirs = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b8", True]
    assert spans(parent=theirs)["POST /v1/chat/completions"].parent_id == theirs[1]
    linked = spans(link=theirs)["POST /v1/chat/completions"]
    assert (linked.parent_id, linked.links) == (None, [(theirs[0], theirs[1])])


# -- attempts --------------------------------------------------------------------------------------


def reasons(*attempts: list[Any], **changes: Any) -> list[str | None]:
    built = build(record(attempts=list(attempts), **changes), NOW)
    calls = [span for span in built if span.kind == "client"]
    calls.sort(key=lambda span: span.attributes["gateway.attempt.number"])
    return [span.attributes.get("gateway.attempt.reason") for span in calls]


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([attempt(1, 0.1, 0.4)], [None]),
        (
            [
                attempt(1, 0.1, 0.2, status=0, outcome="upstream_connect_failed"),
                attempt(2, 0.2, 0.4),
            ],
            [None, "retry: upstream_connect_failed"],
        ),
        ([attempt(1, 0.1, 0.2, status=503), attempt(2, 0.3, 0.4)], [None, "retry: status 503"]),
        (
            [attempt(1, 0.1, 0.2, status=500), attempt(2, 0.3, 0.4, upstream="other", model="b")],
            [None, "fallback: status 500"],
        ),
        (
            [attempt(2, 0.2, 0.3), attempt(1, 0.1, 0.3, status=0, outcome="cancelled")],
            [None, "hedge"],
        ),
        ([attempt(1, 0.1, 0.4), attempt(2, 1.0, 1.1)], [None, "continuation"]),
    ],
)
def test_each_attempt_says_why_it_was_made(
    attempts: list[list[Any]], expected: list[str | None]
) -> None:
    assert reasons(*attempts) == expected


def test_only_the_attempt_that_answered_has_the_answer() -> None:
    built = build(
        record(
            attempts=[
                attempt(1, 0.1, 0.2, status=0, outcome="upstream_reset"),
                attempt(2, 0.3, 0.4),
            ]
        ),
        NOW,
    )
    first, second = (span for span in built if span.kind == "client")
    assert first.error == first.attributes["error.type"] == "upstream_reset"
    assert "gen_ai.usage.output_tokens" not in first.attributes
    assert second.error is None
    assert second.attributes["gen_ai.usage.output_tokens"] == 30
    assert second.attributes["http.request.resend_count"] == 1
    stream = built[-1]
    assert (stream.name, stream.parent_id) == ("stream", second.span_id)


def test_a_stream_that_another_went_on_with_is_two_calls_one_after_the_other() -> None:
    built = build(
        record(
            attempts=[attempt(1, 0.1, 0.4), attempt(2, 1.0, 1.1)],
            events=[["continued", 1.1, "upstream_reset"]],
        ),
        NOW,
    )
    first, second = (span for span in built if span.kind == "client")
    assert (first.end, second.end) == (1_800_000_001.0, 1_800_000_002.0)
    assert [event.name for event in built[-1].events] == ["first_chunk", "continued"]
    assert built[-1].events[1].attributes == {"reason": "upstream_reset"}


# -- endings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "who", "event"),
    [
        ("client_abort", "client", "cancel"),
        ("upstream_reset", "upstream", "break"),
        ("timeout", "upstream", "break"),
        ("drain", "gateway", "cancel"),
        ("cancelled", "operator", "cancel"),
        ("internal_error", "gateway", "cancel"),
    ],
)
def test_a_stream_says_who_hung_up(end: str, who: str, event: str) -> None:
    found = spans(end=end, error="x", reason="because")
    stream = found["stream"]
    assert stream.attributes["gateway.stream.ended_by"] == who
    assert stream.events[-1].name == event
    assert stream.events[-1].at == stream.end
    assert stream.events[-1].attributes == {"end": end, "error": "x", "reason": "because"}
    # A client may leave; that is nobody's fault.
    assert (stream.error is None) == (end == "client_abort")
    assert (found["POST /v1/chat/completions"].error is None) == (end == "client_abort")


def test_stalls_are_events_with_their_length() -> None:
    stream = spans(
        gaps={
            "pieces": 9,
            "longest_s": 1.0,
            "counts": list(range(11)),
            "stalls": [[0.6, 1.6]],
            "last_s": 1.8,
        },
        events=[["client_behind", 1.7, ""], ["client_caught_up", 1.75, ""]],
    )["stream"]
    assert [event.name for event in stream.events] == [
        *("first_chunk", "first_token", "stall", "resume", "client_behind", "client_caught_up"),
    ]
    assert stream.events[2].attributes == {"seconds": 1.0}
    assert stream.attributes["gateway.stream.gap.counts"] == list(range(11))
    assert stream.end == 1_800_000_001.8


def test_of_a_stream_that_was_cut_the_last_piece_is_told() -> None:
    """Between it and the end was silence that no later piece ended."""
    gaps = {"pieces": 3, "longest_s": 0.1, "counts": [0] * 11, "stalls": [], "last_s": 1.2}
    stream = spans(end="client_abort", gaps=gaps)["stream"]
    assert [event.name for event in stream.events] == [
        "first_chunk",
        "first_token",
        "last_chunk",
        "cancel",
    ]
    assert stream.events[2].at == 1_800_000_001.2


def test_a_refusal_ends_where_it_was_refused() -> None:
    built = spans(
        status=401,
        error="unauthenticated",
        reason="no credential",
        marks=[["auth", 0.01, None]],
        attempts=[],
        first_byte_s=None,
        ttft_s=None,
    )
    assert list(built) == ["POST /v1/chat/completions", "auth"]
    assert built["auth"].error == "unauthenticated"
    assert built["auth"].end == built["POST /v1/chat/completions"].end
    assert built["POST /v1/chat/completions"].error is None, (
        "a 4xx is the caller's, not the server's"
    )


def test_a_server_error_is_one() -> None:
    server = spans(status=502, error="upstream_reset", attempts=[], first_byte_s=None, ttft_s=None)[
        "POST /v1/chat/completions"
    ]
    assert server.error == server.attributes["error.type"] == "upstream_reset"


def test_how_long_it_waited_in_the_queue_and_behind_how_many() -> None:
    admission = spans(marks=[["admission", 0.1, 1.1]], queue_position=3)["admission"]
    assert admission.end - admission.start == pytest.approx(1.0)
    assert admission.attributes == {"gateway.queue.position": 3}


def test_prompts_and_answers_are_in_the_call_and_the_root_only_if_they_were_recorded() -> None:
    for span in spans().values():
        assert not [name for name in span.attributes if "messages" in name]
    found = spans(content={"input": "[1]", "output": "[2]", "system": "[3]"})
    for name in ("chat llama", "POST /v1/chat/completions"):
        attributes = found[name].attributes
        assert attributes["gen_ai.input.messages"] == "[1]"
        assert attributes["gen_ai.output.messages"] == "[2]"
        assert attributes["gen_ai.system_instructions"] == "[3]"
    # Stores add up the tokens of all spans that have some.
    assert not [name for name in attributes if "usage" in name]


@pytest.mark.parametrize(
    ("route_path", "path", "name"),
    [
        ("/v1/", "/v1/messages", "POST /v1/messages"),
        ("/team/", "/team/v1/chat/completions", "POST /team/v1/chat/completions"),
        ("/", "/api/chat", "POST /api/chat"),
        ("/v1/chat/completions", "/v1/chat/completions", "POST /v1/chat/completions"),
        ("/v1/", "/v1/made-up-1/chat/completions", "POST /v1/"),
        ("/v1/", "/v1/models/m-1", "POST /v1/"),
    ],
)
def test_the_root_is_named_by_its_route_and_operation(
    route_path: str, path: str, name: str
) -> None:
    server = next(iter(spans(route_path=route_path, path=path).values()))
    assert (server.kind, server.name) == ("server", name)
    assert f"POST {server.attributes['http.route']}" == name


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "host", "name"),
    [
        ("openai", "10.0.0.1", "openai"),
        ("openai", "api.mistral.ai", "mistral_ai"),
        ("openai", "acme.openai.azure.com", "azure.ai.openai"),
        ("anthropic", "bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        ("ollama", "localhost", "ollama"),
    ],
)
def test_the_provider_is_known_by_the_host_else_by_the_dialect(
    dialect: str, host: str, name: str
) -> None:
    assert provider(dialect, host) == name
