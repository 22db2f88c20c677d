"""Format of audit files: JSON lines, compressed by gzip, then sealed. Bytes in, bytes out.

Whatever `feed` returned can be read back, however the file ends. Gzip is flushed after each batch
of lines, and each batch is one frame of a sealed file:

- The first line is a JSON object, which says how the data key is wrapped.
- A frame is its length (4 bytes, big-endian) and AES-256-GCM's ciphertext with its tag. The nonce
  is the frame's number. The first line is authenticated with each frame.
- An empty frame marks the end, so that a file that was cut off differs from a complete one.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.prompt_audit.data_keys import (
    KEY_BYTES,
    NoKey,
    OpeningKey,
    WrappingKey,
    unwrap_by,
    wrap_for,
)

_FORMAT = "llm-gateway-sealed"
_VERSION = 1
_CIPHER = "A256GCM"
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_SEALED_MAGIC = b'{"format":"%b"' % _FORMAT.encode()
_READ_BYTES = 256 * 1024
_FRAME_CAP_BYTES = 16 * 1024**2
_HEAD_CAP_BYTES = 64 * 1024
_LINE_CAP_BYTES = 1024**3


class CutOff(Exception):
    """File that ends before its end: its writer died, or still writes. All complete lines were
    read.
    """


class Damaged(Exception):
    """File that is no audit file, or was changed. The message says what is wrong."""


class LineWriter:
    """Encoder of one file."""

    def __init__(self, *, gzip: bool, keys: Sequence[WrappingKey] = ()) -> None:
        """`keys` seal the file; it is not sealed if there are none."""
        self._gzip = zlib.compressobj(wbits=_GZIP) if gzip else None
        self._sealer: _Sealer | None = None
        self.head = b""
        """Bytes at the beginning of the file."""
        if keys:
            data_key = os.urandom(KEY_BYTES)
            told = {
                "format": _FORMAT,
                "version": _VERSION,
                "cipher": _CIPHER,
                "keys": wrap_for(keys, data_key),
            }
            self.head = orjson.dumps(told) + b"\n"
            self._sealer = _Sealer(data_key, self.head)

    def feed(self, lines: bytes) -> bytes:
        """Return the bytes of complete lines."""
        if self._gzip is not None:
            lines = self._gzip.compress(lines) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        return self._sealed(lines)

    def finish(self) -> bytes:
        """Return the bytes that end the file."""
        rest = b"" if self._gzip is None else self._gzip.flush()
        sealed = self._sealed(rest) if rest else b""
        return sealed + (b"" if self._sealer is None else self._sealer.frame(b"", is_last=True))

    def _sealed(self, data: bytes) -> bytes:
        if self._sealer is None:
            return data
        pieces = range(0, len(data), _FRAME_CAP_BYTES)
        return b"".join(self._sealer.frame(data[at : at + _FRAME_CAP_BYTES]) for at in pieces)


class _Sealer:
    """Encryption of the frames of one file."""

    def __init__(self, data_key: bytes, head: bytes) -> None:
        self._cipher = AESGCM(data_key)
        self._bound = hashlib.sha256(head).digest()
        self._number = 0

    def frame(self, data: bytes, *, is_last: bool = False) -> bytes:
        """Return the next frame."""
        sealed = self._cipher.encrypt(self._nonce(), data, self._bound + bytes([is_last]))
        return len(sealed).to_bytes(4, "big") + sealed

    def opened(self, sealed: bytes) -> tuple[bytes, bool]:
        """Return the content of the next frame, and True if it is the last. Raise Damaged."""
        nonce = self._nonce()
        for is_last in (False, True):
            try:
                return self._cipher.decrypt(nonce, sealed, self._bound + bytes([is_last])), is_last
            except InvalidTag:
                continue
        raise Damaged(f"frame {self._number} was changed, or is not where it was written")

    def _nonce(self) -> bytes:
        self._number += 1
        return self._number.to_bytes(12, "big")


def read_lines(file: BinaryIO, keys: Sequence[OpeningKey] = ()) -> Iterator[bytes]:
    """Yield the lines of a file, without their ends. `keys` open a sealed one.

    Raise CutOff at the end of a file that ends too early, after all complete lines. Raise Damaged
    or NoKey.
    """
    begin = file.read(len(_SEALED_MAGIC))
    ahead = _rest(begin, file)
    pieces = _opened(ahead, keys) if begin == _SEALED_MAGIC else _pieces(ahead)
    first = next(pieces, b"")
    is_cut_off: list[bool] = []
    pieces = _again(first, pieces)
    if first.startswith(_GZIP_MAGIC):
        pieces = _unzipped(pieces)
    yield from _split(_noting(pieces, is_cut_off), is_cut_off)


def _split(pieces: Iterator[bytes], is_cut_off: list[bool]) -> Iterator[bytes]:
    begun: list[bytes] = []
    begun_bytes = 0
    for piece in pieces:
        head, end, tail = piece.rpartition(b"\n")
        if end:
            yield from (b"".join(begun) + head).split(b"\n")
            begun, begun_bytes = [], 0
        if tail:
            begun.append(tail)
            begun_bytes += len(tail)
            if begun_bytes > _LINE_CAP_BYTES:
                raise Damaged("a line does not end")
    if begun or is_cut_off:
        raise CutOff


def _noting(pieces: Iterator[bytes], is_cut_off: list[bool]) -> Iterator[bytes]:
    """Yield the pieces, and note if they are cut off: the lines before are still to be read."""
    try:
        yield from pieces
    except CutOff:
        is_cut_off.append(True)


def _again(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _unzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(_GZIP)
    for piece in pieces:
        data = piece
        while data:
            if decoder.eof:  # several files, one behind the other
                decoder = zlib.decompressobj(_GZIP)
            try:
                found = decoder.decompress(data, _READ_BYTES)
            except zlib.error as exc:
                raise Damaged(f"it is no gzip data: {exc}") from exc
            if found:
                yield found
            data = decoder.unconsumed_tail or decoder.unused_data
        while not decoder.eof and (found := decoder.decompress(b"", _READ_BYTES)):
            yield found
    if not decoder.eof:
        raise CutOff


Read = Callable[[int], bytes]


def _rest(begin: bytes, file: BinaryIO) -> Read:
    """Return a function that reads the file from its beginning again, of which `begin` was read."""
    left = begin

    def read(size: int) -> bytes:
        nonlocal left
        head, left = left[:size], left[size:]
        return head + (file.read(size - len(head)) if len(head) < size else b"")

    return read


def _pieces(read: Read) -> Iterator[bytes]:
    while piece := read(_READ_BYTES):
        yield piece


def _opened(read: Read, keys: Sequence[OpeningKey]) -> Iterator[bytes]:
    head = bytearray()
    while not head.endswith(b"\n"):
        byte = read(1)
        if not byte:
            raise CutOff
        head += byte
        if len(head) > _HEAD_CAP_BYTES:
            raise Damaged("its first line does not end")
    sealer = _Sealer(_data_key(bytes(head), keys), bytes(head))
    while True:
        length = read(4)
        if len(length) < 4:
            raise CutOff
        size = int.from_bytes(length, "big")
        if size > _FRAME_CAP_BYTES + 16:
            raise Damaged("a frame is too long")
        sealed = read(size)
        if len(sealed) < size:
            raise CutOff
        data, is_last = sealer.opened(sealed)
        if data:
            yield data
        if is_last:
            if read(1):
                raise Damaged("bytes follow its end")
            return


def _data_key(head: bytes, keys: Sequence[OpeningKey]) -> bytes:
    try:
        told: Any = orjson.loads(head)
        wrapped = told["keys"]
        known = told["version"] == _VERSION and told["cipher"] == _CIPHER
        readable = all({"key", "wrap", "data"} <= one.keys() for one in wrapped)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise Damaged("its first line cannot be read") from None
    if not known:
        raise Damaged("a newer version of the gateway wrote it")
    if not readable or not wrapped:
        raise Damaged("its first line names no keys")
    try:
        return unwrap_by(keys, wrapped)
    except NoKey:
        raise
    except (ValueError, KeyError, TypeError):
        raise Damaged("its first line cannot be read") from None
