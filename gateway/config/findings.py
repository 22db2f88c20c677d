"""Result type of configuration checks, and a constant that several checks share."""

from __future__ import annotations

from gateway.config.problems import ConfigPath

Finding = tuple[ConfigPath, str, str | None]
"""Path of a value, the problem with it, and a hint or None."""

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
"""Names that no configured header may have, in lower case."""
