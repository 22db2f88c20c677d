"""Paths of Ollama's API."""

from __future__ import annotations

import re

from gateway.dialects.dialect import Paths

PATHS = Paths(
    base="/api",
    holds_base=re.compile(r"/api$"),
    generating=("/chat", "/generate"),
    operations={
        "/api/chat": "chat",
        "/api/generate": "text_completion",
        "/api/embed": "embeddings",
    },
    without_text=("/embed",),
    without_generation=("/api/tags", "/api/show", "/api/ps"),
    resources=r"/api/(?:pull|push|create|copy|delete)|/api/blobs/[^/]+",
)
