"""Server-sent events, cut and made: what a client would make of them is what is made here.

E1 to E6 for the parser alone; that streams pass through a gateway is in `wire/test_streams.py`.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Iterable
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.sse import Event, EventSplitter, EventTooLarge, comment, event, retry, with_id
from tests.support import sse_reference
from tests.support.figures import Report
from tests.support.sse_streams import BOM, LINE_ENDS, TEXT, cut_streams, pieces

KIB = 1024
MIB = 1024 * KIB
TOKEN = (
    b'data: {"id":"chatcmpl-9x","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"m","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}\n\n'
)
LINE_END_NAMES = ["lf", "crlf", "cr"]


def split(parts: Iterable[bytes]) -> tuple[list[Event], bytes]:
    """The events of a stream that comes in these pieces, and what is left at its end."""
    splitter = EventSplitter()
    events = [event for part in parts for event in splitter.feed(part)]
    return events, splitter.flush()


def whole(stream: bytes) -> Event:
    """The one event of this stream."""
    events, left = split([stream])
    assert (len(events), left) == (1, b"")
    return events[0]


def joined(events: Iterable[Event]) -> bytes:
    return b"".join(event.raw for event in events)


def told(events: Iterable[Event]) -> list[bytes]:
    """The events that a client is told of, by their data."""
    return [event.data for event in events if event.data is not None]


def understood(events: Iterable[Event]) -> sse_reference.Reading:
    """What a client makes of these events by their fields."""
    reading = sse_reference.Reading()
    for each in events:
        if each.id is not None:
            reading.last_event_id = each.id.decode("utf-8", "replace")
        if each.retry_ms is not None:
            reading.reconnection_ms = each.retry_ms
        if each.data is not None:
            kind = each.type.decode("utf-8", "replace")
            data = each.data.decode("utf-8", "replace")
            reading.messages.append(sse_reference.Message(kind, data, reading.last_event_id))
    return reading


# -- any stream, cut in any way ----------------------------------------------------------------


@given(cut_streams())
@example([b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n"])
@example([b"data: 1\r\n\r", b"\ndata: 2\r", b"\n", b"\r\n"])
@example([BOM[:1], BOM[1:] + b"\n", b"data: 1\n", b"\n"])
def test_after_every_piece_a_client_of_the_events_knows_all_it_could(parts: list[bytes]) -> None:
    splitter = EventSplitter()
    events: list[Event] = []
    stream = b""
    for part in parts:
        stream += part
        events += splitter.feed(part)
        assert understood(events) == sse_reference.read(stream)
    assert joined(events) + splitter.flush() == stream


@given(cut_streams())
def test_nothing_is_held_but_an_event_that_has_begun(parts: list[bytes]) -> None:
    splitter = EventSplitter()
    stream = b""
    passed = 0
    for part in parts:
        stream += part
        passed += len(joined(splitter.feed(part)))
        held = stream[passed:].removeprefix(b"" if passed else BOM)
        assert not held.startswith((b"\n", b"\r"))
        assert not any(blank in held for blank in (b"\n\n", b"\n\r", b"\r\r"))


@given(cut_streams())
def test_every_event_has_something_in_it_but_for_late_blank_lines(parts: list[bytes]) -> None:
    splitter = EventSplitter()
    for part in parts:
        events = splitter.feed(part)
        assert all(event.raw for event in events)
        bare = [event for event in events if not event.raw.strip(b"\r\n")]
        assert not bare or (len(events) == 1 and part.startswith((b"\n", b"\r")))


@given(cut_streams(), st.integers(1, 50))
@example([BOM + b"data: 1", b"\n\n"], 9)
@example([BOM, b"data: 1\n\n"], 8)
@example([BOM + b"data: 1"], 7)
@example([b"data: 1\n\n\n", b"data: 2\r\n\r\n", b"data: 3\n\n"], 9)
@example([b"data: 1\n\n\n", b"data: 2\r\n\r\n"], 10)
@example([b"data: 1\n\n", b"data: 1\n\n"], 8)
def test_what_is_too_large_is_so_however_it_is_cut(parts: list[bytes], cap_bytes: int) -> None:
    outcomes = []
    for way in (parts, [b"".join(parts)], pieces(b"".join(parts), 1)):
        splitter = EventSplitter(cap_bytes)
        events: list[Event] = []
        too_large = False
        fed = b""
        for part in way:
            fed += part
            try:
                events += splitter.feed(part)
            except EventTooLarge as error:
                events += error.events
                too_large = True
                break
        assert joined(events) + splitter.flush() == fed
        outcomes.append((too_large, understood(events)))
    assert outcomes[0] == outcomes[1] == outcomes[2]


# -- E1 to E6 ----------------------------------------------------------------------------------

BODIES = {
    "lf": b"event: a\ndata: 1\ndata: 2\n\ndata: 3\n\n",
    "crlf": b"event: a\r\ndata: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n",
    "cr": b"event: a\rdata: 1\rdata: 2\r\rdata: 3\r\r",
    "mixed": b"event: a\rdata: 1\ndata: 2\r\n\rdata: 3\n\r\n",
    "blank-lines": b"\n\r\nevent: a\ndata: 1\ndata: 2\n\n\r\r\n\ndata: 3\r\n\r\n\r\n\r\n",
}


@pytest.mark.parametrize("stream", [b"data: 1\r\rdata: 2\n\n", b"data: 1\n\rdata: 2\r\n\r\n"])
def test_e1_events_of_unlike_line_ends_in_one_piece_are_cut(stream: bytes) -> None:
    assert told(split([TOKEN, stream])[0])[1:] == [b"1", b"2"]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_e1_line_ends_stay_as_they_are(body: bytes) -> None:
    for size in range(1, len(body) + 1):
        events, left = split(pieces(body, size))
        assert joined(events) + left == body
        assert told(events) == [b"1\n2", b"3"]
        assert left == b""


@pytest.mark.parametrize("end", LINE_ENDS, ids=LINE_END_NAMES)
def test_e1_an_event_is_there_with_the_byte_that_ends_it(end: bytes) -> None:
    body = b"data: 1" + end + end
    last = body.removesuffix(b"\n") if end == b"\r\n" else body
    splitter = EventSplitter()
    assert [splitter.feed(body[n : n + 1]) for n in range(len(last) - 1)] == [[]] * (len(last) - 1)
    assert told(splitter.feed(last[-1:])) == [b"1"]


def test_e1_the_lf_of_a_crlf_does_not_wait_for_the_next_event() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\r\n\r") == [Event(b"data: 1\r\n\r")]
    assert splitter.feed(b"\ndata: 2\r") == [Event(b"\n")]
    assert splitter.feed(b"\n\r\n") == [Event(b"data: 2\r\n\r\n")]


def test_blank_lines_belong_to_the_event_before_them_if_they_come_with_it() -> None:
    stream = b"data: 1\n\n\r\n\ndata: 2\n\n\n"
    assert split([stream])[0] == [Event(b"data: 1\n\n\r\n\n"), Event(b"data: 2\n\n\n")]


def test_blank_lines_that_come_with_the_next_event_belong_to_it() -> None:
    stream = [b"data: 1\n\n", b"\n\ndata: 2\n\n"]
    assert split(stream)[0] == [Event(stream[0]), Event(stream[1])]


def test_blank_lines_that_come_alone_pass_at_once_as_an_event_of_nothing() -> None:
    splitter = EventSplitter()
    splitter.feed(TOKEN)
    (blank,) = splitter.feed(b"\n")
    assert (blank.raw, blank.data, blank.is_comment) == (b"\n", None, True)


def test_e2_a_byte_order_mark_may_come_with_the_whole_first_event() -> None:
    body = BOM + b"data: 1\n\n"
    first = whole(body)
    assert (first.raw, first.bom, first.data) == (body, True, b"1")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_e2_a_byte_order_mark_stays_and_is_not_part_of_the_first_field(size: int) -> None:
    body = BOM + b"data: 1\n\ndata: 2\n\n"
    events, _ = split(pieces(body, size))
    assert joined(events) == body
    assert [(event.raw, event.bom) for event in events] == [
        (BOM + b"data: 1\n\n", True),
        (b"data: 2\n\n", False),
    ]
    assert told(events) == [b"1", b"2"]


@pytest.mark.parametrize("body", [BOM + BOM + b"data: 1\n\n", b"\n" + BOM + b"data: 1\n\n"])
def test_e2_a_byte_order_mark_elsewhere_is_part_of_a_field_name(body: bytes) -> None:
    for size in range(1, len(body) + 1):
        events, _ = split(pieces(body, size))
        assert joined(events) == body
        assert told(events) == []
        assert not events[-1].is_comment


@pytest.mark.parametrize("body", [BOM[:1], BOM[:2], BOM, BOM[:2] + b"x"])
def test_e2_a_stream_that_ends_in_a_byte_order_mark_keeps_its_bytes(body: bytes) -> None:
    assert split(pieces(body, 1)) == ([], body)


def test_e3_text_split_at_every_byte_is_whole_again() -> None:
    body = f"data: {TEXT}\n\n".encode()
    for cut in range(len(body) + 1):
        events, _ = split([body[:cut], body[cut:]])
        assert (joined(events), told(events)) == (body, [TEXT.encode()])
    assert told(split(pieces(body, 1))[0]) == [TEXT.encode()]


def test_e3_bytes_that_are_no_utf8_pass() -> None:
    content = bytes(set(range(256)) - {10, 13})
    assert whole(b"data: " + content + b"\n\n").data == content


@pytest.mark.parametrize("size", [64 * KIB, KIB])
def test_e4_an_event_of_10_mib_comes_whole_in_time_linear_to_it(size: int, report: Report) -> None:
    body = b"data: " + b"0123456789abcde," * (10 * MIB // 16) + b"\n\n"
    parts = pieces(body, size)
    splitter = EventSplitter()
    started = time.process_time()
    for part in parts[:-1]:
        assert splitter.feed(part) == []
    (one,) = splitter.feed(parts[-1])
    elapsed_s = time.process_time() - started
    report("E4", f"10 MiB event split in pieces of {size // KIB} KiB, ms", elapsed_s * 1e3)
    assert one.raw == body
    assert one.data == body[6:-2]
    assert elapsed_s < 5


LARGE: dict[str, tuple[int, bytes, bytes, int]] = {
    # how often, what, then what, in pieces of how many bytes
    "one line, byte by byte": (MIB // 4, b"x", b"\n\n", 1),
    "lines of CR, byte by byte": (MIB // 8, b"x\r", b"\r", 1),
    "one event of many lines, by KiB": (MIB // 8, b"data: 1\n", b"\n", KIB),
    "one event of many lines at once, LF": (MIB // 2, b"data: 1\n", b"\n", 4 * MIB),
    "one event of many lines at once, CR": (MIB // 2, b"data: 1\r", b"\r", 4 * MIB),
    "many events at once, LF": (200_000, b"data: 1\n\n", b"", 2 * MIB),
    "many events at once, CRLF": (150_000, b"data: 1\r\n\r\n", b"", 2 * MIB),
    "many events at once, CR": (200_000, b"data: 1\r\r", b"", 2 * MIB),
    "many events at once, and a CR": (200_000, b"data: 1\n\n", b": \r", 2 * MIB),
    "blank lines at once": (2 * MIB, b"\n", b"", 2 * MIB),
    "blank lines one by one": (MIB // 8, b"\r\n", b"", 2),
}


@pytest.mark.parametrize(("times", "part", "last", "size"), LARGE.values(), ids=LARGE)
def test_e4_no_shape_of_a_stream_takes_quadratic_time(
    times: int, part: bytes, last: bytes, size: int
) -> None:
    stream = times * part + last
    splitter = EventSplitter()
    started = time.process_time()
    passed = sum(len(joined(splitter.feed(piece))) for piece in pieces(stream, size))
    elapsed_s = time.process_time() - started
    assert passed + len(splitter.flush()) == len(stream)
    assert elapsed_s < 30  # takes half a second; quadratic, it takes minutes


def test_e4_an_event_beyond_the_cap_is_refused_and_none_of_it_lost() -> None:
    splitter = EventSplitter(cap_bytes=10)
    assert splitter.feed(b"data: 12\n\n") == [Event(b"data: 12\n\n")]
    with pytest.raises(EventTooLarge, match="10 bytes") as raised:
        splitter.feed(b"data: 1\n\ndata: 123\n\ndata: 2\n\n")
    assert raised.value.events == [Event(b"data: 1\n\n")]
    assert splitter.flush() == b"data: 123\n\ndata: 2\n\n"


def test_e4_an_event_without_an_end_is_refused_when_it_is_beyond_the_cap() -> None:
    splitter = EventSplitter(cap_bytes=10)
    assert splitter.feed(b"data: 1234") == []
    with pytest.raises(EventTooLarge):
        splitter.feed(b"5")
    assert splitter.flush() == b"data: 12345"


@pytest.mark.parametrize(
    "block", [b"data: 1\n\n", b"data\nid\n\n", b"data: 1\r\n\r", b"data: 1\r\r"]
)
def test_e4_the_cap_is_the_size_of_the_largest_event(block: bytes) -> None:
    for ready in (b"", b": a\n\n"):
        splitter = EventSplitter(len(block))
        splitter.feed(ready)
        assert splitter.feed(block) == [Event(block)]
        splitter = EventSplitter(len(block) - 1)
        splitter.feed(ready)
        with pytest.raises(EventTooLarge):
            splitter.feed(block)
        assert splitter.flush() == block


def test_e4_blank_lines_are_never_too_large() -> None:
    assert EventSplitter(cap_bytes=10).feed(100 * b"\n") == [Event(100 * b"\n")]


def test_e4_10_mib_of_data_are_within_the_cap_and_11_are_not() -> None:
    whole(b"event: a\ndata: " + bytes(10 * MIB) + b"\n\n")
    with pytest.raises(EventTooLarge):
        whole(b"data: " + bytes(11 * MIB) + b"\n\n")


def test_e5_a_comment_passes_when_it_comes() -> None:
    splitter = EventSplitter()
    splitter.feed(TOKEN)
    (ping,) = splitter.feed(b": ping\n\n")
    assert (ping.raw, ping.data, ping.is_comment) == (b": ping\n\n", None, True)


@pytest.mark.parametrize("left", [b"data: 2", b"data: 2\n", b"data: 2\r\n", b": ping\r", b"d"])
def test_e6_a_stream_without_a_last_blank_line_leaves_what_is_no_event(left: bytes) -> None:
    for size in range(1, 20):
        events, flushed = split(pieces(b"data: 1\n\n" + left, size))
        assert (told(events), flushed) == ([b"1"], left)


def test_e6_nothing_is_left_twice() -> None:
    splitter = EventSplitter()
    splitter.feed(b"data: 1")
    assert (splitter.flush(), splitter.flush()) == (b"data: 1", b"")


# -- what it costs -----------------------------------------------------------------------------


def test_data_that_is_one_event_is_not_copied() -> None:
    splitter = EventSplitter()
    for data in (TOKEN, b"event: a\n" + TOKEN, TOKEN.replace(b"\n", b"\r\n"), b"\n" + TOKEN):
        (one,) = splitter.feed(data)
        assert one.raw is data


def test_cost_of_an_event(report: Report) -> None:
    splitter = EventSplitter()
    splitter.feed(TOKEN)
    for name, token in (("LF", TOKEN), ("CRLF", TOKEN.replace(b"\n", b"\r\n"))):
        for count in (1, 16):
            data = count * token
            assert len(splitter.feed(data)) == count
            runs = timeit.repeat(partial(splitter.feed, data), number=1000, repeat=5)
            report("sse", f"an event split, {count} at once, {name}, µs", min(runs) * 1e3 / count)
    runs = timeit.repeat(lambda: with_id(TOKEN, b"abc-12"), number=1000, repeat=5)
    report("sse", "an event given an ID, µs", min(runs) * 1e3)


# -- fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (b"data: 1\n", b"1"),
        (b"data:1\n", b"1"),
        (b"data:  1 \n", b" 1 "),
        (b"data:\t1\n", b"\t1"),
        (b"data: a: b\n", b"a: b"),
        (b"data: 1\ndata\ndata: 2\n", b"1\n\n2"),
        (b"data\n", b""),
        (b"data:\n", b""),
        (b"data\ndata\n", b"\n"),
        (b": comment\ndata: 1\nnoise: 2\n", b"1"),
        (b"Data: 1\n", None),
        (b" data: 1\n", None),
        (b"data : 1\n", None),
        (b"id: 1\n", None),
        (b": comment\n", None),
    ],
)
def test_data_lines_are_joined(block: bytes, data: bytes | None) -> None:
    assert whole(block + b"\n").data == data


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (b"data: 1\n", b"message"),
        (b"event: a\n", b"a"),
        (b"event: a\nevent:b\n", b"b"),
        (b"event: a\nevent\n", b"message"),
    ],
)
def test_the_last_type_counts_and_an_empty_one_is_message(block: bytes, kind: bytes) -> None:
    assert whole(block + b"\n").type == kind


@pytest.mark.parametrize(
    ("block", "event_id"),
    [
        (b"data: 1\n", None),
        (b"id: 7\n", b"7"),
        (b"id:7\nid: 8\n", b"8"),
        (b"id\n", b""),
        (b"id: 7\nid:\n", b""),
        (b"id: 7\0\n", None),
        (b"id: 7\nid: \0\n", b"7"),
    ],
)
def test_the_last_id_without_a_nul_counts_and_may_be_empty(
    block: bytes, event_id: bytes | None
) -> None:
    assert whole(block + b"\n").id == event_id


@pytest.mark.parametrize(
    ("block", "retry_ms"),
    [
        (b"data: 1\n", None),
        (b"retry: 1000\n", 1000),
        (b"retry: 1000\nretry: 1.5\n", 1000),
        (b"retry: 0\n", 0),
        (b"retry: " + 5000 * b"0" + b"7\n", 7),
        (b"retry:\n", None),
        (b"retry\n", None),
        (b"retry: -1\n", None),
        (b"retry: +1\n", None),
        (b"retry: 1 \n", None),
        (b"retry:  1\n", None),
        (b"retry: 1_0\n", None),
        (b"retry: \xc2\xb2\n", None),
        (b"retry: " + 5000 * b"9" + b"\n", None),
    ],
)
def test_a_retry_is_of_digits_only(block: bytes, retry_ms: int | None) -> None:
    assert whole(block + b"\n").retry_ms == retry_ms


@pytest.mark.parametrize(
    ("block", "is_comment"),
    [
        (b":\n", True),
        (b": a\n:b\n", True),
        (b": a\ndata\n", False),
        (b"id: 1\n", False),
        (b"noise\n", False),
    ],
)
def test_a_comment_is_a_block_without_fields(block: bytes, is_comment: bool) -> None:
    assert whole(block + b"\n").is_comment is is_comment


# -- making ------------------------------------------------------------------------------------

one_line = st.binary(max_size=20).filter(lambda value: not {10, 13} & set(value))
ids = one_line.filter(lambda value: 0 not in value)


@given(st.binary(max_size=40), st.none() | one_line, st.none() | ids)
@example(b"a\r\nb\rc\n\n", None, None)
def test_an_event_made_is_read_as_it_was_meant(
    data: bytes, kind: bytes | None, event_id: bytes | None
) -> None:
    made = whole(event(data, kind, event_id))
    assert made.data == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert (made.type, made.id) == (kind or b"message", event_id)


def test_an_event_made_has_a_line_for_each_line_of_its_data() -> None:
    assert event(b"1\n2\n", b"a", b"7") == b"id: 7\nevent: a\ndata: 1\ndata: 2\ndata: \n\n"


def test_a_comment_and_a_retry_are_lines_of_the_next_event() -> None:
    assert comment(b"ping") == b": ping\n"
    assert retry(1500) == b"retry: 1500\n"
    made = whole(comment(b"data: 1") + retry(1500) + comment(b"x") + event(b"2", b"a"))
    assert (made.data, made.type, made.retry_ms) == (b"2", b"a", 1500)


@pytest.mark.parametrize("text", [b"a\nb", b"a\rdata: b", b"\n"])
def test_a_line_break_never_becomes_a_line_of_its_own(text: bytes) -> None:
    for make in (comment, lambda text: event(b"", text), lambda text: event(b"", None, text)):
        with pytest.raises(ValueError, match="line break"):
            make(text)
    with pytest.raises(ValueError, match="line break"):
        with_id(TOKEN, text)


def test_an_id_that_clients_would_ignore_and_a_negative_retry_are_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        with_id(TOKEN, b"7\0")
    with pytest.raises(ValueError, match="NUL"):
        event(b"", None, b"7\0")
    with pytest.raises(ValueError, match="negative"):
        retry(-1)


@pytest.mark.parametrize("end", LINE_ENDS, ids=LINE_END_NAMES)
def test_an_id_is_put_in_first_in_the_line_ends_of_the_event(end: bytes) -> None:
    for block in (b"data: 1\n\n", b": a\nid\ndata: 1\n\n", b"id: 5\ndata: 1\nid: 6\0\n\n"):
        kept = [line for line in block.split(b"\n") if not line.startswith(b"id")]
        expected = end.join([b"id: 7", *kept])
        assert with_id(block.replace(b"\n", end), b"7") == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (BOM + b"data: 1\n\n", BOM + b"id: 7\ndata: 1\n\n"),
        (b"\n\r\ndata: 1\n\n", b"\n\r\nid: 7\ndata: 1\n\n"),
        (b"idx: 1\nid : 2\ndata: id\n\n", b"id: 7\nidx: 1\nid : 2\ndata: id\n\n"),
        (b": ping\n\n", b"id: 7\n: ping\n\n"),
        (b"\n\ndata: 1\r\n\r\n", b"\n\nid: 7\r\ndata: 1\r\n\r\n"),
        (b"data: 1\rid: 5\n\n", b"id: 7\rdata: 1\r\n\n"),
        (b"id: 5\r\r", b"id: 7\r\r"),
        (b"\r\n", b"id: 7\r\n\r\n"),
    ],
    ids=["bom", "blank-lines", "alike", "comment", "line-ends", "mixed", "only", "blank"],
)
def test_what_stands_beside_the_id_stays(raw: bytes, expected: bytes) -> None:
    assert with_id(raw, b"7") == expected


def test_an_id_stands_before_bytes_that_are_no_byte_order_mark_there() -> None:
    raw = BOM + b"data: 1\n\n"
    assert with_id(raw, b"7", bom=False) == b"id: 7\n" + raw


@given(cut_streams(), ids)
@example([b"data: 1\rid: 5\n\n"], b"7")
@example([b"id: 1\r\n\r", b"\nid: 5\rid: 6\n\r\n"], b"")
@example([b"\n" + BOM + b"data: 1\n\n"], b"7")
def test_an_id_put_in_is_the_only_thing_that_changes(parts: list[bytes], event_id: bytes) -> None:
    before, left = split(parts)
    stream = b"".join(with_id(event.raw, event_id, bom=event.bom) for event in before)
    after = understood(split([stream])[0])
    expected = understood(before)
    assert [(each.type, each.data) for each in after.messages] == [
        (each.type, each.data) for each in expected.messages
    ]
    assert after.reconnection_ms == expected.reconnection_ms
    named = {each.last_event_id for each in after.messages}
    assert named <= {event_id.decode("utf-8", "replace")}
    assert sse_reference.read(stream + left).messages == after.messages
