"""Decoders for content codings, independent of the gateway's."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Decoder = Callable[[bytes], bytes]
"""Function that takes the next bytes of a body, and returns what can be decoded so far."""


def decoder(coding: str) -> Decoder:
    """Return a decoder for a content coding."""
    if coding == "gzip":
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return lambda data: inflate.decompress(data)
    if coding == "zstd":
        return zstd.ZstdDecompressor().decompress
    found: Any = brotli.Decompressor()
    process: Decoder = found.process
    return process
