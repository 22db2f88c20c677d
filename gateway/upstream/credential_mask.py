"""Removal of the gateway's own credential from a backend's error response.

Some backends repeat the credential that they refuse, whole or in part, in the body or in a header
field. The credential is the gateway's, so callers must not see it. Every match is replaced by
asterisks of the same number, so that the framing stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from urllib.parse import quote

from gateway.errors import GatewayError, UpstreamInvalidResponse
from gateway.http.decoding import decoder
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import BodySink, ResponseSource, UpstreamResponse

LONGEST_BYTES = 4 * 1024
"""Maximum size of a form of a credential. A longer one is masked up to there."""
_SHORTEST_BYTES = 6
"""Minimum size of a form: a shorter one could be a word of any message."""
_SHOWN_BYTES = 2
"""Minimum size of the beginning, and of the end, of an abbreviated credential."""
_HELD_BYTES = 64 * 1024
"""Bytes of a body that are collected before they are searched."""
_SEARCHED_BYTES = 1024 * 1024
"""Maximum size of a compressed body, before and after it is decoded, that is searched."""
_OMISSION = re.compile(rb"[*.]{3,}+|(?:\xe2\x80\xa6)++|\\u2026")
_LAST_WORD, _FIRST_WORD = re.compile(rb"[A-Za-z0-9_-]++\Z"), re.compile(rb"[A-Za-z0-9_-]++")
_LONGEST_WORD_BYTES = 64
_NAMES = re.compile(r"auth|key|token|secret|password|credential|cookie", re.IGNORECASE)


class CredentialMask:
    """Mask of the credentials that the gateway sends to one endpoint."""

    __slots__ = ("_forms", "_pattern", "_secrets")

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        """Create a mask of the secrets in these header fields."""
        secrets = [value for field in fields for value in _secrets(*field)]
        self._secrets = tuple(value.encode("latin-1") for value in secrets)
        forms = {form[:LONGEST_BYTES] for value in secrets for form in _forms(value)}
        forms = {form for form in forms if len(form) >= _SHORTEST_BYTES}
        longest_first = sorted(forms, key=len, reverse=True)
        self._forms = tuple(longest_first)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first)))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __call__(self, data: bytes) -> bytes:
        """Return the data with every credential replaced by asterisks."""
        if any(form in data for form in self._forms):
            data = self._pattern.sub(_asterisks, data)
        return self._without_abbreviations(data)

    def head(self, head: ResponseHead) -> ResponseHead:
        """Return the head without credentials in its fields: itself, if there are none."""
        fields = [(name, self(value)) for name, value in head.fields]
        reason = self(head.reason)
        if fields == head.fields and reason == head.reason:
            return head
        head = copy(head)  # equal heads share one object
        head.fields, head.reason, head.rendered = fields, reason, {}
        return head

    def _without_abbreviations(self, data: bytes) -> bytes:
        """Mask credentials of which the middle is left out."""
        found: bytearray | None = None
        for omission in _OMISSION.finditer(data):
            start, end = omission.span()
            before = _LAST_WORD.search(data[max(0, start - _LONGEST_WORD_BYTES) : start])
            after = _FIRST_WORD.match(data, end, end + _LONGEST_WORD_BYTES)
            if before is None or after is None:
                continue
            if any(_abbreviates(before[0], after[0], secret) for secret in self._secrets):
                found = found or bytearray(data)
                first = start - len(before[0])
                found[first : after.end()] = b"*" * (after.end() - first)
        return data if found is None else bytes(found)


class MaskedResponse(UpstreamResponse):
    """Error response without the gateway's credential. Its body is passed on once it is complete,
    or in pieces if it is long.

    A compressed body is searched, and passes unchanged. It is broken off if a credential is in it,
    if it is too long to be searched, or if it cannot be decoded.
    """

    __slots__ = ("_codings", "_held", "_is_too_long", "_mask", "_receive")

    def __init__(self, head: ResponseHead, source: ResponseSource, mask: CredentialMask) -> None:
        named = [value for name, value in head.fields if name.lower() == b"content-encoding"]
        super().__init__(mask.head(head), source)
        self._mask = mask
        codings = [one.strip().lower() for one in b",".join(named).decode("latin-1").split(",")]
        self._codings = [coding for coding in codings if coding not in ("", "identity")]
        self._held = b""
        self._is_too_long = False
        self._receive: Callable[[bytes], None] | None = None

    def attach(self, sink: BodySink) -> None:
        """Send the data that arrives from now on to `sink`, without credentials."""
        super().attach(sink)
        self._receive, self.sink_feed = self.sink_feed, None  # the connection calls `feed`

    def abort(self) -> None:
        """Close the upstream connection, unless the response is complete."""
        self._receive = None
        super().abort()

    def feed(self, data: bytes) -> None:
        self._held += data
        if self._codings:
            if len(self._held) > _SEARCHED_BYTES:
                self._held, self._is_too_long = b"", True
        elif len(self._held) > _HELD_BYTES:
            masked = self._mask(self._held)
            self._held = masked[-LONGEST_BYTES:]
            self._pass(masked[:-LONGEST_BYTES])

    def finish(self, error: GatewayError | None) -> None:
        held, self._held = self._held, b""
        if not self._codings:
            if held:
                self._pass(self._mask(held))
        elif self._is_too_long or not self._is_clean(held):
            # Its length is announced, and another body would not have it.
            error = error or UpstreamInvalidResponse("compressed error may hold a credential")
        elif held:
            self._pass(held)
        super().finish(error)

    def _is_clean(self, data: bytes) -> bool:
        """Tell whether a compressed body holds no credential. False if it cannot be decoded."""
        plain = _decoded(data, self._codings)
        return plain is not None and self._mask(plain) == plain

    def _pass(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)
        else:
            super().feed(data)


def _secrets(name: str, value: str) -> Iterator[str]:
    """Yield the secrets in a header field that the gateway sends."""
    if _NAMES.search(name) is None:
        return
    scheme, _, rest = value.partition(" ")
    if not rest:
        yield value
        return
    yield rest.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("latin-1")
        except (binascii.Error, ValueError):
            return
        yield pair
        yield pair.partition(":")[2]


def _forms(secret: str) -> Iterator[bytes]:
    """Yield the forms in which a backend may repeat a secret."""
    data = secret.encode("latin-1")
    yield data
    yield quote(data, safe="").encode()
    yield data.replace(b"/", b"\\/")
    yield base64.b64encode(data).rstrip(b"=")
    yield base64.urlsafe_b64encode(data).rstrip(b"=")


def _abbreviates(beginning: bytes, end: bytes, secret: bytes) -> bool:
    shown = min(len(beginning), len(end)) >= _SHOWN_BYTES
    return shown and secret.startswith(beginning) and secret.endswith(end)


def _asterisks(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found[0])


def _decoded(data: bytes, codings: Sequence[str]) -> bytes | None:
    """Return a body without its codings, which were applied in this order. Return None if it is too
    long, or not in these codings.
    """
    for coding in reversed(codings):
        pieces: list[bytes] = []
        size = 0
        try:
            coded = decoder(coding)
            for piece in () if coded is None else coded.feed(data):
                pieces.append(piece)
                size += len(piece)
                if size > _SEARCHED_BYTES:
                    return None
        except GatewayError:
            return None
        data = b"".join(pieces)
    return data
