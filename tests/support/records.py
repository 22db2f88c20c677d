"""Records of requests in the form written by workers, as test input."""

from __future__ import annotations

from typing import Any

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"


def record(**changes: Any) -> dict[str, Any]:
    """Return the record of a streamed chat without errors. Keywords replace its fields."""
    return {
        "trace": TRACE,
        "span": SPAN,
        "kept": "sampled",
        "sampled": True,
        "at": 1_800_000_000.0,
        "s": 2.0,
        "request_id": "r-1",
        "client": "192.0.2.1",
        "method": "POST",
        "host": "llm.test",
        "url": "https://llm.test",
        "path": "/v1/chat/completions",
        "route": "openai",
        "route_path": "/v1/",
        "subject": "ann",
        "tenant": "acme",
        "model": "llama",
        "served": None,
        "upstream": "main",
        "endpoint": "http://10.0.0.5:8000",
        "status": 200,
        "end": "complete",
        "error": None,
        "reason": None,
        "bytes_in": 100,
        "bytes_out": 900,
        "tokens_in": 9,
        "tokens_out": 30,
        "queue_position": None,
        "queue_s": None,
        "first_byte_s": 0.5,
        "ttft_s": 0.6,
        "fallbacks": None,
        "continued": None,
        "marks": [["auth", 0.01, 0.02], ["limits", 0.02, 0.03]],
        "attempts": [attempt(1, 0.1, 0.4)],
        "events": [],
        **changes,
    }


def attempt(
    number: int,
    began: float,
    ended: float,
    *,
    url: str = "http://10.0.0.5:8000",
    upstream: str = "main",
    model: str | None = None,
    dialect: str = "openai",
    status: int = 200,
    outcome: str = "",
) -> list[Any]:
    """Return an attempt for a record."""
    return [number, began, ended, url, upstream, model, dialect, status, outcome]
