"""Windows of a stream: what is allowed leaves as it came, whatever the pieces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.hooks.content import TextWindow
from gateway.hooks.windows import WindowBuffer
from tests.support.hooks import DONE, MARK, an_exchange, chunk_of, event_of, text_of

pieces = st.lists(
    st.tuples(st.integers(0, 1), st.text("ab é\n", max_size=6), st.booleans()), max_size=20
)


def events_of(parts: Sequence[tuple[int, str, bool]]) -> list[bytes]:
    events = []
    for index, text, comment in parts:
        if comment:
            events.append(b": ping\n\n")
        events.append(chunk_of(text, index))
    return [*events, DONE]


def passed(events: Sequence[bytes], chars: int, hold: int) -> tuple[list[bytes], int]:
    """Pass events through windows of a hook that changes nothing and holds `hold` characters."""
    buffer = WindowBuffer(chars, an_exchange())
    sent: list[bytes] = []
    windows = 0
    for raw in events:
        buffer.add(event_of(raw))
        if buffer.is_due:
            judged = buffer.windows(is_final=False)
            windows += len(judged)
            for _, window in judged:
                window.hold(hold)
            sent += [event.rendered() for event in buffer.release(judged)]
        else:
            sent += [event.rendered() for event in buffer.passing()]
    sent += [event.rendered() for event in buffer.release(buffer.windows(is_final=True))]
    return sent, windows


@given(pieces, st.integers(0, 12), st.integers(0, 9))
def test_allowed_events_leave_byte_for_byte_and_in_order(
    parts: list[tuple[int, str, bool]], chars: int, hold: int
) -> None:
    events = events_of(parts)
    assert passed(events, chars, hold)[0] == events


def censored(window: TextWindow) -> None:
    """Replace the word, and hold what may be its beginning."""
    at = window.text.find(MARK)
    while at >= 0:
        window.replace(at, at + len(MARK), "***")
        at = window.text.find(MARK, at + len(MARK))
    if not window.is_final:
        for size in range(len(MARK) - 1, 0, -1):
            if window.text.endswith(MARK[:size]):
                window.hold(size)
                break


@given(
    st.lists(st.sampled_from(["secret", "se", "cret", "crets", "ecre", " ", "t", "sec"])),
    st.data(),
    st.integers(0, 15),
)
def test_a_word_is_replaced_wherever_the_stream_is_cut(
    words: list[str], data: st.DataObject, chars: int
) -> None:
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    ends = [0, *cuts, len(text)]
    parts = [text[a:b] for a, b in itertools.pairwise(ends)]
    buffer = WindowBuffer(chars, an_exchange())
    sent = b""
    for part in parts:
        buffer.add(event_of(chunk_of(part)))
        if buffer.is_due:
            judged = buffer.windows(is_final=False)
            for _, window in judged:
                censored(window)
            sent += b"".join(event.rendered() for event in buffer.release(judged))
        assert MARK not in text_of(sent)
    judged = buffer.windows(is_final=True)
    for _, window in judged:
        censored(window)
    sent += b"".join(event.rendered() for event in buffer.release(judged))
    assert text_of(sent) == text.replace(MARK, "***")


def test_events_without_text_pass_at_once_if_none_is_held() -> None:
    buffer = WindowBuffer(100, an_exchange())
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    buffer.add(event_of(role))
    assert [event.raw for event in buffer.passing()] == [role]
    buffer.add(event_of(chunk_of("a")))
    buffer.add(event_of(role))
    assert buffer.passing() == []


def test_only_the_events_that_an_edit_touches_change() -> None:
    events = [chunk_of("one "), chunk_of("sec"), chunk_of("ret"), chunk_of(" two")]
    buffer = WindowBuffer(0, an_exchange())
    for raw in events:
        buffer.add(event_of(raw))
    ((key, window),) = buffer.windows(is_final=True)
    censored(window)
    sent = [event.rendered() for event in buffer.release([(key, window)])]
    assert (sent[0], sent[3]) == (events[0], events[3])
    assert [text_of(one) for one in sent[1:3]] == ["***", ""]


def test_what_was_sent_of_a_text_is_known() -> None:
    buffer = WindowBuffer(0, an_exchange())
    for part in ("a sec", "ret"):
        buffer.add(event_of(chunk_of(part)))
    judged = buffer.windows(is_final=True)
    censored(judged[0][1])
    buffer.release(judged)
    assert buffer.sent_as("a secret") == "a ***"
    assert buffer.sent_as("a secreT") is None


def test_a_window_that_grows_too_large_is_judged() -> None:
    buffer = WindowBuffer(0, an_exchange())
    buffer.add(event_of(chunk_of("x" * 600_000)))
    assert not buffer.is_due
    buffer.add(event_of(chunk_of("x" * 600_000)))
    assert buffer.is_due
