"""Shortening of bodies for records."""

from __future__ import annotations

import base64
import os

from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_audit.shorten import MARGIN_BYTES, cut, shortened

TEXT = st.text(alphabet='ab {}":,\n', max_size=6000).map(str.encode)
DATA = st.integers(4096, 200_000).map(lambda size: b"A" * size)


@given(st.lists(st.tuples(TEXT, DATA), max_size=3), TEXT)
def test_data_is_left_out_wherever_it_stands_and_text_stays(
    parts: list[tuple[bytes, bytes]], end: bytes
) -> None:
    body = b"".join(b'%b"%b"' % part for part in parts) + end
    short, is_cut = shortened(body, 10**7, media=False)
    expected = b"".join(b'%b"[%d bytes of base64]"' % (text, len(data)) for text, data in parts)
    assert (short, is_cut) == (expected + end, False)


@given(st.lists(st.tuples(TEXT, DATA), max_size=3), TEXT, st.integers(1, 5000))
def test_a_short_body_is_the_beginning_of_a_long_one(
    parts: list[tuple[bytes, bytes]], end: bytes, cap: int
) -> None:
    body = b"".join(b'%b"%b"' % part for part in parts) + end
    whole, _ = shortened(body, 10**7, media=False)
    short, is_cut = shortened(body, cap, media=False)
    assert is_cut == (len(whole) > cap)
    assert len(short) <= cap + MARGIN_BYTES + 40
    assert whole.startswith(short[: cap + MARGIN_BYTES - 40])


def test_data_is_kept_where_the_route_says_so() -> None:
    data = base64.b64encode(os.urandom(6000))
    assert shortened(data, 10_000, media=True) == (data, False)
    assert shortened(data, 100, media=True) == (data[: 100 + MARGIN_BYTES], True)


def test_a_cut_leaves_the_margin_out() -> None:
    text = "x" * 3000
    assert cut(text, 2000) == text[: 3000 - MARGIN_BYTES]
    assert cut(text, 1000) == text[:1000]
    assert cut("ä" * 2000, 1001) == "ä" * 500
