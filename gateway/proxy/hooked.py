"""Hooks for responses: they judge each response of an upstream before it is relayed."""

from __future__ import annotations

from gateway.dialects import Dialect
from gateway.dialects.json_lines import Lines
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.hooks.answers import AnswerHooks
from gateway.hooks.stages import HookStage
from gateway.hooks.stream import HookedStream
from gateway.proxy.remade import head_for, whole
from gateway.sse import EventSplitter, is_event_stream
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UpstreamResponse

_BODILESS = (204, 205, 304)
_BINARY = (b"audio/", b"image/", b"video/", b"font/", b"application/octet-stream", b"multipart/")
"""Prefixes of the media types of bodies without texts."""


class AnswerJudgement:
    """Hooks of one request's answer, which may come from several upstreams."""

    def __init__(self, hooks: AnswerHooks, exchange: Exchange, dialect: Dialect) -> None:
        self._hooks = hooks
        self._exchange = exchange
        self._dialect = dialect
        self._stages: list[HookStage] | None = None

    async def through(self, raw: UpstreamResponse) -> UpstreamResponse:
        """Return the response to relay: a stream that the hooks judge as it arrives, or a complete
        response. Raise what the hooks raise, and the error that broke off a whole response.
        """
        head, exchange = raw.head, self._exchange
        status = head.status
        if not 200 <= status < 300 or status in _BODILESS or exchange.method == "HEAD":
            return raw
        content_type = head.content_type.lower()
        if content_type.startswith(_BINARY):
            return raw
        if head.encoded:
            self._hooks.illegible("the answer is compressed, which was not asked for")
            return raw
        is_events = is_event_stream(head.content_type)
        if is_events or content_type.startswith(self._dialect.stream_type):
            return self._stream(raw, is_lines=not is_events)
        body = await whole(raw)
        try:
            made = await self._hooks.judged(body, exchange, is_json=b"json" in content_type)
        except GatewayError:
            if exchange.tap is not None:
                # The answer was generated, so it is counted.
                exchange.tap.begin(status, head.content_type, encoded=False)
                exchange.tap.feed(body)
            raise
        if made is not body:
            head = head_for(head, status, head.content_type or b"application/json", len(made))
        return _complete(head, made)

    def _stream(self, raw: UpstreamResponse, *, is_lines: bool) -> UpstreamResponse:
        if self._stages is None:
            self._stages = list(self._hooks.stages(self._exchange))
        head = raw.head
        splitter = Lines() if is_lines else EventSplitter()
        return HookedStream(
            raw,
            head_for(head, head.status, head.content_type, None),
            self._stages,
            splitter,
            self._exchange,
            is_lines=is_lines,
        ).response


def _complete(head: ResponseHead, body: bytes) -> UpstreamResponse:
    response = UpstreamResponse(head, None)
    response.feed(body)
    response.finish(None)
    return response
