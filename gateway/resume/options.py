"""Options of a route for resumable streams."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dialects import Dialect
from gateway.heartbeat import Heartbeats
from gateway.proxy.event_batch import BatchOptions
from gateway.request_body.reader import BodyReader
from gateway.resume.access import StreamAccess
from gateway.resume.policy import Allowed


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """Options of one route. Sizes are in bytes, times in seconds."""

    access: StreamAccess
    streams_path: str
    """Path prefix of the route's streams; ends in a slash."""
    allowed: Allowed
    ttl_s: float
    cap_bytes: int
    responses: bool
    """True if callers speak OpenAI's dialect, whose Responses API has its own way to reconnect."""
    own_background: bool
    """True if the gateway handles background streams itself, without telling the upstream."""
    refuses: bool
    """True if requests are refused while the store does not answer; otherwise their streams are
    kept in memory.
    """
    continues: bool
    """True if another process continues a stream whose process dies."""
    dialect: Dialect
    reader: BodyReader
    reads: tuple[float, float] | None = None
    """Read limit of one caller: reads per second, and burst size."""
    heartbeats: Heartbeats | None = None
    """Heartbeats of silent streams."""
    preface: bytes = b""
    """Bytes that open a stream for a client that `heeds_retry`."""
    batch: BatchOptions | None = None
    """Options for gathering events; None if each is sent at once."""
