"""Paths of Anthropic's API."""

from __future__ import annotations

import re

from gateway.dialects.dialect import Paths

PATHS = Paths(
    base="/v1",
    holds_base=re.compile(r"/v\d[0-9a-z]*$"),
    generating=("/messages",),
    operations={"/messages": "chat", "/complete": "text_completion"},
    without_generation=("/count_tokens",),
    resources=r"/(?:files|batches)(?:/[^/]+){0,2}",
)
