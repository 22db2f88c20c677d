"""Recognize requests whose only effect is one answer: these may be answered from a cache, and
copied to another model.
"""

from __future__ import annotations

from gateway.dialects.paths import generates, operation
from gateway.exchange import Exchange
from gateway.json_body import JsonBody

_STATEFUL = ("background", "previous_response_id", "conversation")
"""Members of a request to OpenAI's Responses API that depend on, or leave, something beside the
answer.
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
    if operation(path) is None or not generates(exchange.method, path):
        return None
    document = body.document
    return None if any(document.get(name) for name in _STATEFUL) else body
