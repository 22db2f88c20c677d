"""Close codes of a WebSocket (RFC 6455 section 7.4, and IANA's registry) and their frames.

No I/O here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Code(IntEnum):
    """Close codes that the gateway itself uses."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    NO_STATUS = 1005
    """Stands for a close frame without a code; never sent."""
    ABNORMAL = 1006
    """Stands for an end without a close frame; never sent."""
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    RESTART = 1012
    BAD_GATEWAY = 1014
    UNAUTHORIZED = 3000


class Violation(Exception):
    """A peer broke a rule. `closing` is the close frame to send."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.closing = Closing(code, reason)


@dataclass(frozen=True, slots=True)
class Closing:
    """Content of a close frame."""

    code: int
    reason: str = ""

    @property
    def payload(self) -> bytes:
        """Payload of the close frame."""
        if self.code == Code.NO_STATUS:
            return b""
        return self.code.to_bytes(2, "big") + self.reason.encode()


def read_closing(payload: bytes) -> Closing:
    """Parse the payload of a close frame. Raise Violation."""
    if not payload:
        return Closing(Code.NO_STATUS)
    if len(payload) == 1:
        raise Violation(Code.PROTOCOL_ERROR, "half a close code")
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise Violation(Code.PROTOCOL_ERROR, "not a close code")
    try:
        return Closing(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise Violation(Code.INVALID_TEXT, "the close reason is not UTF-8") from None
