"""Recognize requests whose only effect is one answer: these may be answered from a cache, and
copied to another model.
"""

from __future__ import annotations

from gateway.dialects.paths import generates, operation
from gateway.exchange import Exchange
from gateway.json_body import JsonBody

_OPERATIONS = frozenset({"chat", "text_completion", "embeddings"})
_STATEFUL = ("background", "previous_response_id", "conversation", "container", "mcp_servers")
"""Members of a request that depend on, or leave, something beside the answer."""
_TOOLS_OF_CALLERS = (None, "function", "custom")
"""Types of tools that the caller runs. The backend runs others itself: they search, and execute
code.
"""


def plain_generation(exchange: Exchange) -> JsonBody | None:
    """Return the parsed body of a request that makes a model generate one answer, and nothing else.
    Otherwise None: the request has another effect, refers to stored state, or its body was not
    parsed completely.
    """
    body = exchange.json
    if body is None or not body.whole or exchange.method != "POST":
        return None
    if exchange.session is not None or exchange.unfinished is not None:
        return None
    path = exchange.path
    if operation(path) not in _OPERATIONS or not generates(exchange.method, path):
        return None
    document = body.document
    if any(document.get(name) for name in _STATEFUL) or _has_backend_tools(document.get("tools")):
        return None
    return body


def _has_backend_tools(tools: object) -> bool:
    """Tell whether a request offers tools that the backend runs."""
    return isinstance(tools, list) and any(
        isinstance(one, dict) and one.get("type") not in _TOOLS_OF_CALLERS for one in tools
    )
