"""Application of the rules of a model to one request."""

from __future__ import annotations

from collections.abc import Awaitable

from gateway.json_body import EDITED_OBJECT_US, JsonBody, edited_elsewhere, is_heavy
from gateway.json_edits import Edits
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.routing.target import Target


def fits(request: Request, target: Target) -> bool:
    """Tell whether a request fits into a model, and its rules refuse nothing of it."""
    rules, body = target.rules, request.exchange.json
    if rules is None or body is None:
        return True
    body = body.restored()
    return rules.misfit(body, request.exchange.path) is None and not rules.refuses(body)


def apply_rules(request: Request, target: Target, reader: BodyReader) -> Awaitable[None] | None:
    """Change the parameters of a request by the rules of its model. What the rules of another model
    have changed before is undone. Return what is to be waited for: a costly body is edited in the
    helper process.

    Raise UnsupportedParameter.
    """
    exchange = request.exchange
    before = exchange.json
    if before is None:
        return None
    body = before.restored()
    edits = target.rules.edits(body, exchange.path) if target.rules is not None else {}
    if edits and (not body.whole or is_heavy(body.raw, EDITED_OBJECT_US)):
        return _edited_later(request, body, edits, reader)
    made = body.edited(edits) if edits else body
    if made is not before:
        exchange.rewritten(made)
    return None


async def _edited_later(request: Request, body: JsonBody, edits: Edits, reader: BodyReader) -> None:
    raw, made = await reader.offload.run(edited_elsewhere, body.raw, edits)
    made.raw = raw
    request.exchange.rewritten(body.replaced_by(made))
