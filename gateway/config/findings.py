"""What checks of a configuration say, and what several of them need."""

from __future__ import annotations

from gateway.config.problems import ConfigPath

Finding = tuple[ConfigPath, str, str | None]
"""Where, what, and a hint."""

RESERVED_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
"""What no configured header may be called."""
