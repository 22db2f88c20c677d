"""Stored answer: head and body as they were sent, their times and usage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """Answer with status 200. Times are in seconds since the epoch."""

    fields: Sequence[tuple[str, str]]
    """Header fields that are sent again."""
    body: bytes
    is_stream: bool
    """True if the body was a stream: it is sent without a length."""
    made_at: float
    """Time at which the backend made it."""
    expires_at: float
    tokens_in: int = 0
    """Tokens that the request used when it was sent to the backend; 0 if not known."""
    tokens_out: int = 0

    def age_s(self, now: float) -> float:
        """Return its age in seconds."""
        return max(0.0, now - self.made_at)

    def encoded(self) -> bytes:
        """Return the answer as bytes."""
        head = {
            "v": _VERSION,
            "fields": self.fields,
            "stream": self.is_stream,
            "made": self.made_at,
            "expires": self.expires_at,
            "tokens": (self.tokens_in, self.tokens_out),
        }
        return b"%b\n%b" % (orjson.dumps(head), self.body)


def decoded(data: bytes) -> StoredAnswer | None:
    """Return the answer in these bytes, or None if another version of the gateway wrote them."""
    head, _, body = data.partition(b"\n")
    try:
        told = orjson.loads(head)
        if told["v"] != _VERSION:
            return None
        tokens_in, tokens_out = told["tokens"]
        return StoredAnswer(
            [(str(name), str(value)) for name, value in told["fields"]],
            body,
            bool(told["stream"]),
            float(told["made"]),
            float(told["expires"]),
            int(tokens_in),
            int(tokens_out),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
