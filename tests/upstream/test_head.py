"""What a response head says of its body, and what of it passes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.headers import HOP_BY_HOP
from gateway.upstream.head import InvalidHead, RawHeader, ResponseHead


def head(*fields: RawHeader, status: int = 200, version: str = "1.1") -> ResponseHead:
    return ResponseHead(status, b"OK", list(fields), version)


def test_fields_pass_in_order_with_their_case() -> None:
    fields = [(b"Set-Cookie", b"a=1"), (b"X-A", b"1"), (b"set-cookie", b"b=2")]
    assert head(*fields).fields == fields


def test_framing_and_connection_fields_do_not_pass() -> None:
    parsed = head(
        (b"Connection", b"close, X-Private"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Trailer", b"X-T"),
        (b"X-Private", b"1"),
        (b"X-Request-ID", b"theirs"),
        (b"Upgrade", b"h2c"),
    )
    assert parsed.fields == []
    assert parsed.chunked


def test_a_nomination_cannot_take_away_what_the_body_needs() -> None:
    parsed = head((b"Connection", b"Content-Length, Content-Type"), (b"Content-Length", b"5"))
    assert parsed.content_length == 5
    assert parsed.fields == [(b"Content-Length", b"5")]


def test_notable_fields_are_noted() -> None:
    parsed = head(
        (b"Content-Type", b"text/event-stream"),
        (b"Cache-Control", b"no-store"),
        (b"Server", b"uvicorn"),
        (b"X-Accel-Buffering", b"yes"),
    )
    assert parsed.content_type == b"text/event-stream"
    assert (parsed.cacheable, parsed.server, parsed.accel) == (True, b"uvicorn", b"yes")
    assert [name for name, _ in parsed.fields] == [b"Content-Type", b"Cache-Control"]


def test_a_204_has_no_length() -> None:
    assert head((b"Content-Length", b"0"), status=204).fields == []


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ([(b"Transfer-Encoding", b"gzip, chunked")], "1.1"),
        ([(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")], "1.1"),
        ([(b"Transfer-Encoding", b"chunked")], "1.0"),
        ([], "2.0"),
    ],
)
def test_ambiguous_framing_is_refused(fields: list[RawHeader], version: str) -> None:
    with pytest.raises(InvalidHead):
        head(*fields, version=version)


def test_control_characters_in_the_reason_are_refused() -> None:
    with pytest.raises(InvalidHead, match="reason"):
        ResponseHead(200, b"O\x01K", [], "1.1")


names = st.sampled_from(
    [*HOP_BY_HOP - {b"connection", b"transfer-encoding"}, b"x-a", b"set-cookie", b"etag", b"x-b"]
)
cased = st.builds(lambda name, upper: name.title() if upper else name, names, st.booleans())


@given(st.lists(st.tuples(cased, st.binary(max_size=8))), st.lists(names, max_size=3))
def test_exactly_what_means_this_connection_only_is_taken_out(
    fields: list[RawHeader], nominated: list[bytes]
) -> None:
    connection = (b"Connection", b", ".join([b"close", *nominated]))
    dropped = HOP_BY_HOP | set(nominated)
    expected = [field for field in fields if field[0].lower() not in dropped]
    assert head(*fields, connection).fields == expected
    assert head(connection, *fields).fields == expected


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b" chunked\t"])
def test_chunked_is_chunked_in_any_case(coding: bytes) -> None:
    assert head((b"transfer-encoding", coding)).chunked


@pytest.mark.parametrize("coding", [b"", b"identity", b"chunked, chunked", b"xchunked", b"gzip"])
def test_another_coding_is_refused(coding: bytes) -> None:
    with pytest.raises(InvalidHead, match="transfer-encoding"):
        head((b"Transfer-Encoding", coding))


def test_a_length_passes_and_is_known() -> None:
    parsed = head((b"content-length", b"12"))
    assert (parsed.content_length, parsed.chunked) == (12, False)
    assert parsed.fields == [(b"content-length", b"12")]


def test_the_reason_phrase_may_be_empty_or_of_any_language() -> None:
    for reason in (b"", b"Je ne sais pas", "Für später".encode("latin-1")):
        assert ResponseHead(200, reason, [], "1.1").reason == reason


def test_the_lines_of_a_head_are_those_of_its_fields() -> None:
    made = head((b"Content-Type", b"text/plain"), (b"X-A", b"1"))
    assert made.lines() == b"Content-Type: text/plain\r\nX-A: 1\r\n"


@pytest.mark.parametrize(
    ("kind", "streams"), [(b"Text/Event-Stream; charset=utf-8", True), (b"text/plain", False)]
)
def test_an_event_stream_is_told_by_its_content_type(kind: bytes, streams: bool) -> None:
    assert head((b"Content-Type", kind)).is_event_stream is streams
