"""Application of the rules of a model to one request."""

from __future__ import annotations

from collections.abc import Awaitable

from gateway.json_body import JsonBody, is_heavy_to_edit, read
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.routing.model_rules import ModelRules
from gateway.routing.target import Target


def fits(request: Request, target: Target, *, surely: bool = False) -> bool:
    """Tell whether a request fits into a model, and its rules refuse nothing of it. `surely`: a
    request that only probably does not fit counts as one that fits; see `ModelRules.misfit`.
    """
    rules, body = target.rules, request.exchange.json
    if rules is None or body is None:
        return True
    body = body.restored()
    misfit = rules.misfit(body, request.exchange.path, surely=surely)
    return misfit is None and not rules.refuses(body)


def apply_rules(request: Request, target: Target, reader: BodyReader) -> Awaitable[None] | None:
    """Change the parameters of a request by the rules of its model. What the rules of another model
    have changed before is undone. Return what is to be waited for: a costly body is edited in the
    helper process.

    Raise UnsupportedParameter, or RequestError for a parameter that is given more than once.
    """
    exchange = request.exchange
    before = exchange.json
    if before is None:
        return None
    body, rules = before.restored(), target.rules
    made = body
    if rules is not None and rules.changes_parameters:
        if not body.whole or is_heavy_to_edit(body.raw):
            return _ruled_later(request, body, rules, reader)
        edits = rules.edits(body, exchange.path)
        if edits:
            made = body.edited(edits)
    if made is not before:
        exchange.rewritten(made)
    return None


async def _ruled_later(
    request: Request, body: JsonBody, rules: ModelRules, reader: BodyReader
) -> None:
    exchange = request.exchange
    raw, made = await reader.offload.run(ruled_elsewhere, rules, body.raw, exchange.path)
    made.raw = raw
    exchange.rewritten(body.replaced_by(made))


def ruled_elsewhere(rules: ModelRules, body: bytes, path: str) -> tuple[bytes, JsonBody]:
    """Apply rules to a costly body in a helper process, which sees all of its parameters. Return
    its bytes, and the parsed body without them. Raise RequestError.
    """
    parsed = read(body)
    made = parsed.edited(rules.edits(parsed, path))
    return made.raw, made.pruned()
