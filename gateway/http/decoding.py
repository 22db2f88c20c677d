"""Content codings of bodies (RFC 9110 section 8.4), decoded where the gateway reads a body."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]

from gateway.errors import RequestError, UnsupportedCoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_STEP_BYTES = 256 * 1024
"""Maximum bytes decoded before the event loop gets a turn."""
_WINDOW_LOG = 23
"""A zstd decoder is limited to a window of 8 MiB (RFC 9659), so that a frame cannot force a larger
allocation.
"""
_MOST_PARTS = 16
"""Maximum number of gzip members or zstd frames in one body: each costs more than its bytes do."""
_GZIP, _RAW = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS


class Decoder(Protocol):
    """Streaming decoder of one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield decoded pieces of about 256 KiB at most. Raise RequestError."""

    def finish(self) -> None:
        """Check that the body is complete. Raise RequestError if not."""


def decoder(coding: str) -> Decoder | None:
    """Return a decoder for this Content-Encoding, or None if there is nothing to decode.

    Raise UnsupportedCoding.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip"):
        return _Zlib(_GZIP)
    if coding == "deflate":
        return _Zlib(None)
    if coding == "zstd":
        return _ZstdDecoder()
    if coding == "br":
        return _BrotliDecoder()
    raise UnsupportedCoding


class _Zlib:
    """Decoder of gzip with one or more members, and of deflate with or without the zlib wrapper,
    which some clients omit.
    """

    def __init__(self, window: int | None) -> None:
        self._window = window
        self._begun = b""
        self._parts = 1
        self._decoder = None if window is None else zlib.decompressobj(window)

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            data = self._begun = self._begun + data
            if len(data) < 2:
                return
            wrapped = data[0] & 15 == 8 and not int.from_bytes(data[:2], "big") % 31
            self._window = zlib.MAX_WBITS if wrapped else _RAW
            self._decoder = zlib.decompressobj(self._window)
        while data:
            if self._decoder.eof:
                self._parts += 1
                if self._window != _GZIP or self._parts > _MOST_PARTS:
                    raise _malformed("bytes behind its end")
                self._decoder = zlib.decompressobj(_GZIP)
            try:
                piece = self._decoder.decompress(data, _STEP_BYTES)
            except zlib.error as exc:
                raise _malformed(str(exc)) from exc
            data = self._decoder.unconsumed_tail or self._decoder.unused_data
            if piece:
                yield piece
        while not self._decoder.eof and (piece := self._more()):
            yield piece

    def _more(self) -> bytes:
        """Return the rest of a step whose output was full when its input was used up."""
        assert self._decoder is not None
        try:
            return self._decoder.decompress(b"", _STEP_BYTES)
        except zlib.error as exc:
            raise _malformed(str(exc)) from exc

    def finish(self) -> None:
        if self._decoder is None or not self._decoder.eof:
            raise _malformed("cut off")


class _ZstdDecoder:
    """Decoder of one or more zstd frames."""

    def __init__(self) -> None:
        self._decoder = self._made()
        self._begun = False
        self._parts = 1

    @staticmethod
    def _made() -> zstd.ZstdDecompressor:
        return zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        )

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._decoder.needs_input or self._decoder.eof):
            if self._decoder.eof:
                self._parts += 1
                if self._parts > _MOST_PARTS:
                    raise _malformed("too many frames")
                self._decoder = self._made()
            self._begun = True
            try:
                piece = self._decoder.decompress(data, _STEP_BYTES)
            except zstd.ZstdError as exc:
                raise _malformed(str(exc)) from exc
            data = self._decoder.unused_data if self._decoder.eof else b""
            if piece:
                yield piece

    def finish(self) -> None:
        if not (self._begun and self._decoder.eof):
            raise _malformed("cut off")


class _BrotliDecoder:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not self._decoder.is_finished():
            if self._decoder.is_finished():
                raise _malformed("bytes behind its end")
            try:
                piece = self._decoder.process(data, output_buffer_limit=_STEP_BYTES)
            except brotli.error as exc:
                raise _malformed(str(exc)) from exc
            data = b""
            if piece:
                yield piece
            elif self._decoder.can_accept_more_data():
                return  # more input is needed

    def finish(self) -> None:
        if not self._decoder.is_finished():
            raise _malformed("cut off")


def _malformed(reason: str) -> RequestError:
    return RequestError(
        "The request body is not in the coding that Content-Encoding names.",
        code="invalid_encoding",
        reason=reason,
    )
