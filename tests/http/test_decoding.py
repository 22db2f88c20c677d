"""Content codings of request bodies: decoded however they are cut, within their limits."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError, UnsupportedCoding
from gateway.http.decoding import decoder
from tests.support.growth import LINEAR_AT_MOST, growth


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return coder.compress(data) + coder.flush()


CODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a wrapper": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "two frames": ("zstd", lambda data: zstd.compress(data[:9]) + zstd.compress(data[9:])),
    "br": ("br", brotli.compress),
}


def decoded(coding: str, *pieces: bytes) -> bytes:
    one = decoder(coding)
    assert one is not None
    data = b"".join([each for piece in pieces for each in one.feed(piece)])
    one.finish()
    return data


@pytest.mark.parametrize("kind", CODERS)
@given(
    data=st.binary(max_size=300) | st.integers(0, 600_000).map(lambda size: b"a" * size),
    cuts=st.lists(st.integers(0, 400), max_size=5).map(sorted),
)
def test_a_body_is_decoded_however_it_is_cut(kind: str, data: bytes, cuts: list[int]) -> None:
    coding, encode = CODERS[kind]
    encoded = encode(data)
    edges = [0, *cuts, max(len(encoded), 400)]
    pieces = [encoded[start:end] for start, end in itertools.pairwise(edges)]
    assert decoded(coding, *pieces) == data


@pytest.mark.parametrize("kind", CODERS)
def test_a_bomb_comes_in_pieces(kind: str) -> None:
    coding, encode = CODERS[kind]
    one = decoder(coding)
    assert one is not None
    sizes = [len(piece) for piece in one.feed(encode(b"0" * 5_000_000))]
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= 1024 * 1024


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(coding: str, data: bytes) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(decoded(coding, data), bytes)


@pytest.mark.parametrize(
    ("coding", "data"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstd.compress(b""))]
)
def test_very_many_empty_members_are_refused(coding: str, data: bytes) -> None:
    with pytest.raises(RequestError):
        decoded(coding, data * 10_000)


def test_a_frame_that_needs_a_huge_window_is_refused() -> None:
    coder = zstd.ZstdCompressor(options={int(zstd.CompressionParameter.window_log): 27})
    data = coder.compress(b"a" * 1000) + coder.flush()
    with pytest.raises(RequestError):
        decoded("zstd", data)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
def test_decoding_is_linear(coding: str) -> None:
    encode = CODERS[coding][1]

    def work(size: int) -> Callable[[], object]:
        data = encode(bytes(range(256)) * (size // 256))
        pieces = [data[at : at + 64] for at in range(0, len(data), 64)]
        return lambda: decoded(coding, *pieces)

    assert growth(work, 256 * 1024) < LINEAR_AT_MOST


def test_nothing_and_identity_are_no_codings() -> None:
    assert decoder("") is None
    assert decoder(" Identity ") is None
    with pytest.raises(UnsupportedCoding):
        decoder("gzip, identity")
