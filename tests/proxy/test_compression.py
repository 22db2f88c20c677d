"""Which content coding is chosen, and that what is encoded can be read at every step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.compression import Coding, chosen, encoded, encoder
from tests.support.codings import decoder

ALL: tuple[Coding, ...] = ("zstd", "br", "gzip")
each_coding = pytest.mark.parametrize("coding", ALL)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip;q=1.0, br;q=0.8", "gzip"),
        ("gzip; q=0.5 , br;Q=0.501", "br"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "br"),
        ("gzip;q=0", None),
        ("gzip;q=0.000, br;q=0.001", "br"),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0", None),
        ("gzip;q=2, br;q=x, zstd;q=-1", None),
        ("gzip;level=9", None),
        ("gzip;q=0.5;x=y", None),
        (",,gzip,,", "gzip"),
        ("deflate, compress", None),
    ],
)
def test_a_client_gets_what_it_likes_best(accepted: str, coding: Coding | None) -> None:
    assert chosen(accepted, ALL) == coding


def test_only_what_the_route_offers_is_chosen() -> None:
    assert chosen("zstd, br, gzip", ("gzip",)) == "gzip"
    assert chosen("zstd, br", ("gzip",)) is None


@each_coding
@given(pieces=st.lists(st.binary(max_size=300), max_size=8))
def test_all_that_was_fed_can_be_read_at_once(coding: Coding, pieces: list[bytes]) -> None:
    ours, theirs = encoder(coding), decoder(coding)
    for piece in pieces:
        sent = ours.feed(piece)
        assert bool(sent) == bool(piece)
        assert (theirs(sent) if sent else b"") == piece
    assert theirs(ours.finish()) == b""


@each_coding
@given(body=st.binary(max_size=3000))
def test_a_whole_body_can_be_read(coding: Coding, body: bytes) -> None:
    assert decoder(coding)(encoded(body, coding)) == body


@each_coding
def test_what_events_have_in_common_is_sent_once(coding: Coding) -> None:
    event = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[%d]}\n\n'
    ours = encoder(coding)
    sizes = [len(ours.feed(event % n)) for n in range(20)]
    assert max(sizes[1:]) < sizes[0] / 2
