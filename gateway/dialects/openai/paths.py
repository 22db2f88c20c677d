"""Paths of OpenAI's API, and of what vLLM, SGLang, llama.cpp and TGI add to it."""

from __future__ import annotations

import re

from gateway.dialects.dialect import Paths

PATHS = Paths(
    base="/v1",
    # Such as /openai/v1, /v1beta/openai and /api/paas/v4.
    holds_base=re.compile(r"/v\d[0-9a-z]*(?:/openai)?$"),
    generating=("/chat/completions", "/completions", "/responses"),
    operations={
        "/chat/completions": "chat",
        "/responses": "chat",
        "/completions": "text_completion",
        "/embeddings": "embeddings",
        "/images/generations": "generate_content",
        "/audio/speech": "generate_content",
        "/audio/transcriptions": "generate_content",
        "/audio/translations": "generate_content",
    },
    without_text=(
        "/embeddings",
        "/rerank",
        "/score",
        "/classify",
        "/pooling",
        "/moderations",
        "/images/generations",
        "/images/edits",
        "/images/variations",
        "/audio/speech",
    ),
    without_generation=(
        "/input_tokens",
        "/tokenize",
        "/detokenize",
        "/apply-template",
        "/models",
        "/health",
        "/ping",
        "/version",
    ),
    resources=(
        r"/(?:files|uploads|batches|vector_stores|fine_tuning/jobs|containers|conversations"
        r"|assistants)(?:/[^/]+){0,2}|/responses/[^/]+/cancel|/chat/completions/[^/]+"
        r"|/(?:un)?load_lora_adapter"
    ),
)
