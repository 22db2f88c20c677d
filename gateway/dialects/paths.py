"""Recognize requests by their paths, in any dialect: a route may serve the API of several."""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.dialects import DIALECTS

_PATHS = tuple(dialect.paths for dialect in DIALECTS.values())
_REMEMBERED = 256
"""Paths whose kind is remembered."""
_SAFE = ("GET", "HEAD", "DELETE")
_OPERATIONS = {end: name for paths in _PATHS for end, name in paths.operations.items()}
OPERATION_PATHS = tuple(_OPERATIONS)
"""Ends of the paths that `operation` has a name for."""
_GENERATING = (
    *(end for paths in _PATHS for end in paths.generating),
    *(end for dialect in DIALECTS.values() for end in dialect.embeddings),
)
_WITHOUT_TEXT = tuple(end for paths in _PATHS for end in paths.without_text)
_WITHOUT_GENERATION = tuple(end for paths in _PATHS for end in paths.without_generation)
_RESOURCES = re.compile(f"(?:{'|'.join(one.resources for one in _PATHS if one.resources)})\\Z")
ENDPOINTS = (*OPERATION_PATHS, *_GENERATING, *_WITHOUT_TEXT, *_WITHOUT_GENERATION)
"""Ends of the paths of all endpoints that a dialect describes."""


def operation(path: str) -> str | None:
    """Return `gen_ai.operation.name` by the end of a path, or None if it is no model operation."""
    path = path.rstrip("/")
    return next((name for end, name in _OPERATIONS.items() if path.endswith(end)), None)


@lru_cache(_REMEMBERED)
def generates(method: str, path: str) -> bool:
    """True if the request makes a model generate output, judged by method and path."""
    path = path.rstrip("/")
    if method in _SAFE or path.endswith(_WITHOUT_GENERATION):
        return False
    return path.endswith(_GENERATING) or _RESOURCES.search(path) is None


def fetches(method: str, path: str, *, stream: bool) -> bool:
    """True if the request fetches a stored response, which was charged when it was generated.

    A stored response may be fetched many times. A stream requested by GET counts as generated for
    this request, unless the path belongs to OpenAI's stored responses.
    """
    return method in _SAFE and not (stream and "/responses/" not in path)


@lru_cache(_REMEMBERED)
def answers_text(path: str) -> bool:
    """True if responses at this path are text, so that their length indicates their tokens."""
    return not path.rstrip("/").endswith(_WITHOUT_TEXT)
