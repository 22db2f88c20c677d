"""Chunks, as a parser reads them back."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.chunks import LAST_CHUNK, chunk

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Read:
    """What llhttp tells."""

    def __init__(self) -> None:
        self.body = b""
        self.ended = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.ended = True


@given(st.lists(st.binary(min_size=1, max_size=300)))
def test_what_is_sent_in_chunks_arrives_and_ends_with_the_last(pieces: list[bytes]) -> None:
    read = Read()
    parser = httptools.HttpResponseParser(read)
    parser.feed_data(HEAD + b"".join(chunk(piece) for piece in pieces))
    assert (read.body, read.ended) == (b"".join(pieces), False)
    parser.feed_data(LAST_CHUNK)
    assert read.ended
