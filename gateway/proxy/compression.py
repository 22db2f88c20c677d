"""Content codings of responses: negotiation (RFC 9110 section 12.5.3) and encoding.

An event stream is flushed after every write, so that the client can read each event at once; events
still profit from their similarity to earlier ones. Encoding runs on the event loop. Levels are low,
and windows are small because every stream has its own.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import brotli  # type: ignore[import-untyped]

from gateway.response_writer import BodyEncoder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Coding = Literal["zstd", "br", "gzip"]

_WEIGHT = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_NAMES = {"x-gzip": "gzip"}
_GZIP_HEADER = 16
"""Added to the window size to make zlib write a gzip header and trailer."""


class _Gzip:
    def __init__(self, level: int, window_bits: int, memory: int) -> None:
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, _GZIP_HEADER + window_bits, memory)

    def feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._deflate.flush()


class _BrotliEncoder:
    def __init__(self, quality: int, window_bits: int) -> None:
        self._compressor = brotli.Compressor(quality=quality, lgwin=window_bits)

    def feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        return bytes(self._compressor.process(data) + self._compressor.flush())

    def finish(self) -> bytes:
        return bytes(self._compressor.finish())


class _ZstdEncoder:
    def __init__(self, level: int, window_bits: int) -> None:
        self._compressor = zstd.ZstdCompressor(
            options={
                zstd.CompressionParameter.compression_level: level,
                zstd.CompressionParameter.window_log: window_bits,
            }
        )

    def feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        return self._compressor.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)


# Memory in KiB for each stream, measured: 33, 114 and 304. See docs/streaming.md.
_STREAMS: Mapping[Coding, Callable[[], BodyEncoder]] = {
    "gzip": lambda: _Gzip(5, 12, 5),
    "zstd": lambda: _ZstdEncoder(1, 13),
    "br": lambda: _BrotliEncoder(3, 12),
}
_WHOLE: Mapping[Coding, Callable[[bytes], bytes]] = {
    "gzip": lambda body: zlib.compress(body, 5, wbits=_GZIP_HEADER + zlib.MAX_WBITS),
    "zstd": lambda body: zstd.compress(body, 3),
    "br": lambda body: bytes(brotli.compress(body, quality=4)),
}


def encoder(coding: Coding) -> BodyEncoder:
    """Return an encoder for a streamed body."""
    return _STREAMS[coding]()


def encoded(body: bytes, coding: Coding) -> bytes:
    """Encode a complete body."""
    return _WHOLE[coding](body)


@lru_cache(1024)
def chosen(accepted: str, offered: Sequence[Coding]) -> Coding | None:
    """Return the offered coding with the highest weight in Accept-Encoding, the first offered of
    several equal ones. None if the client accepts none of them, or prefers the plain body.
    """
    weights = _weights(accepted)
    others = weights.get("*", 0.0)
    best: Coding | None = None
    # The plain body, if neither named nor excluded by "*", is used only where no coding is
    # accepted.
    best_weight = weights.get("identity", 0.0)
    for coding in offered:
        weight = weights.get(coding, others)
        if weight > best_weight or (best is None and 0.0 < weight == best_weight):
            best, best_weight = coding, weight
    return best


def _weights(accepted: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for element in accepted.split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        weight = _WEIGHT.fullmatch(parameters[0]) if parameters else None
        if not name or len(parameters) > 1 or (parameters and weight is None):
            continue
        name = name.lower()
        weights[_NAMES.get(name, name)] = float(weight[1]) if weight else 1.0
    return weights
