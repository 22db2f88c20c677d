"""Sending of requests to which the gateway added `stream_options`, for its own token counts.

Some backends reject the field. The request is then sent again without it, and so are later requests
for the same model.
"""

from __future__ import annotations

from gateway.dialects.openai.refused_fields import refused_field
from gateway.dialects.openai.requests import STREAM_OPTIONS
from gateway.dialects.refusals import FIELD_STATUSES, LONGEST_BYTES
from gateway.exchange import Exchange
from gateway.proxy.attempt import SendOptions
from gateway.proxy.attempts import Attempts
from gateway.request import Request
from gateway.routing.target import Target, target_of
from gateway.upstream.response import UpstreamResponse

_SENT = frozenset({STREAM_OPTIONS})


def asking_body(exchange: Exchange, target: Target, body: bytes) -> tuple[bytes, bool]:
    """Return the body to send in place of one made by `JsonBody.ask_for_usage`, and whether it asks
    for usage although the caller's own does not.
    """
    parsed = exchange.json
    if parsed is None or STREAM_OPTIONS in parsed.document:
        return body, False
    if STREAM_OPTIONS in target.upstream.fields.refused(_model(exchange)):
        return parsed.unasked(), False
    return body, True


def takes_asking(exchange: Exchange, response: UpstreamResponse) -> bool:
    """Tell whether the response can be used, although the request asked for usage."""
    assert exchange.target is not None
    status = response.head.status
    if status < 400:
        exchange.target.upstream.fields.takes(_model(exchange), _SENT)
        return True
    return status not in FIELD_STATUSES


async def sent_without_asking(
    request: Request, response: UpstreamResponse, send: SendOptions
) -> UpstreamResponse:
    """Return the response to the request sent without the field, if the backend refused the field;
    otherwise the response itself. Raise GatewayError.
    """
    exchange = request.exchange
    target, parsed, model = target_of(exchange), exchange.json, _model(exchange)
    assert parsed is not None
    fields = target.upstream.fields
    answer = await response.held(LONGEST_BYTES)
    if answer and refused_field(response.head.status, answer, _SENT, fields.taken(model)):
        assert exchange.attempt is not None
        exchange.attempt.ended(exchange)
        response = await Attempts(request, target, parsed.unasked(), send).send()
        if response.head.status < 400:
            fields.refuses(model, _SENT)
    return response


def _model(exchange: Exchange) -> str:
    return exchange.served or exchange.model or ""
