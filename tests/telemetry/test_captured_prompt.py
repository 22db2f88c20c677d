"""Prompts and answers that are captured while a request is served."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.captured_prompt import CapturedPrompt

PIECES = st.lists(st.binary(max_size=100) | st.integers(0, 60_000).map(lambda n: b"x" * n))


@given(PIECES, st.integers(1, 200_000))
def test_the_beginning_of_an_answer_is_kept(pieces: list[bytes], cap: int) -> None:
    captured = CapturedPrompt(cap)
    for piece in pieces:
        captured.feed(piece)
    whole = b"".join(pieces)
    assert captured.answer() == (whole[:cap], len(whole) > cap)
    assert captured.answer_bytes == len(whole)


def test_long_answers_take_little_memory() -> None:
    captured = CapturedPrompt(16 * 1024**2)
    for number in range(40_000):
        captured.feed(b'data: {"choices":[{"delta":{"content":"word %d"}}]}\n\n' % number)
    assert captured.size_bytes < 400_000
    assert len(captured.answer()[0]) > 2_000_000


def test_a_long_answer_is_counted_beyond_what_is_kept() -> None:
    captured = CapturedPrompt(10)
    for _ in range(100):
        captured.feed(b"x" * 10_000)
    assert captured.size_bytes < 100_000
    assert captured.answer() == (b"x" * 10, True)
    assert captured.answer_bytes == 1_000_000
