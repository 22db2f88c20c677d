"""What the messages of an upstream say was used."""

from __future__ import annotations

from gateway.usage import Usage
from gateway.websocket.usage import SessionUsage

DONE = b'{"type": "response.done", "response": {"usage": {"input_tokens": 5, "output_tokens": 2}}}'
DELTA = b'{"type": "response.output_audio.delta", "delta": "AAAA"}'


def test_every_event_that_says_it_counts_once() -> None:
    usage = SessionUsage()
    assert usage.feed(DONE, True, True) == Usage(5, 2)
    assert usage.feed(DELTA, True, True) is None
    assert usage.feed(DONE, True, True) == Usage(5, 2)
    assert usage.total == Usage(10, 4)
    assert usage.rest() is None


def test_an_event_in_fragments_is_one_event() -> None:
    usage = SessionUsage()
    assert usage.feed(DONE[:40], True, False) is None
    assert usage.feed(DONE[40:70], False, False) is None
    assert usage.feed(DONE[70:], False, True) == Usage(5, 2)
    assert usage.total == Usage(5, 2)


def test_what_only_looks_like_it_does_not_count() -> None:
    usage = SessionUsage()
    quoted = b'{"delta": "{\\"usage\\": {\\"input_tokens\\": 1000}}"}'
    nested = b'{"item": {"arguments": {"usage": {"input_tokens": 1000}}}}'
    for message in (quoted, nested, b'{"usage": null}', b'{"usage": {}}', b'"usage"'):
        assert usage.feed(message, True, True) is None
    assert usage.total == Usage(0, 0)


def test_pieces_after_the_last_answer_are_a_guess_at_the_one_that_was_broken_off() -> None:
    usage = SessionUsage()
    for message in (DELTA, DONE, DELTA, DELTA):
        usage.feed(message, True, True)
    assert usage.rest() == Usage(0, 2)
    assert usage.rest() is None
    assert usage.total == Usage(5, 4)


def test_a_delta_whose_usage_is_null_is_a_delta() -> None:
    usage = SessionUsage()
    usage.feed(DELTA[:-1] + b', "usage": null}', True, True)
    assert usage.rest() == Usage(0, 1)
