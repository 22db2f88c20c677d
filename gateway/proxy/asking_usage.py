"""Sending of requests to which the gateway added `stream_options`, for its own token counts.

Some backends reject the field. The request is then sent again without it, and so are later requests
for the same model.
"""

from __future__ import annotations

from gateway.dialects.openai.refused_fields import refused_field
from gateway.dialects.openai.requests import STREAM_OPTIONS
from gateway.dialects.refusals import FIELD_STATUSES, LONGEST_BYTES
from gateway.exchange import GatewayRequest
from gateway.proxy.attempt import SendOptions
from gateway.proxy.attempts import Attempts
from gateway.proxy.resolve import Target
from gateway.upstream.response import UpstreamResponse

_SENT = frozenset({STREAM_OPTIONS})


async def send_asking(
    request: GatewayRequest, target: Target, body: bytes, send: SendOptions
) -> UpstreamResponse:
    """Send a body made by `JsonBody.ask_for_usage` and return the response. Raise GatewayError."""
    fields, exchange = target.upstream.fields, request.exchange
    model = exchange.served or exchange.model or ""
    parsed = exchange.json
    # The caller's own body has the field, too.
    if parsed is None or STREAM_OPTIONS in parsed.document:
        return await Attempts(request, target, body, send).send()
    if STREAM_OPTIONS in fields.refused(model):
        return await Attempts(request, target, parsed.unasked(), send).send()
    mark = exchange.mark()
    response = await Attempts(request, target, body, send).send()
    status = response.head.status
    if status < 400:
        fields.takes(model, _SENT)
    elif status in FIELD_STATUSES:
        answer = await response.held(LONGEST_BYTES)
        if answer and refused_field(status, answer, _SENT, fields.taken(model)):
            exchange.unwind(mark)
            response = await Attempts(request, target, parsed.unasked(), send).send()
            if response.head.status < 400:
                fields.refuses(model, _SENT)
    return response
