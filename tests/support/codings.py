"""Decoding, by decoders that are not the gateway's."""

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
"""Of one body: what can be read by now."""


def decoder(coding: str) -> Decoder:
    """For a content coding by its name."""
    if coding == "gzip":
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return lambda data: inflate.decompress(data)
    if coding == "zstd":
        return zstd.ZstdDecompressor().decompress
    found: Any = brotli.Decompressor()
    process: Decoder = found.process
    return process
