"""Publication of a generation: the events of a streamed answer go to a channel as well.

A caller asks for it by a header with the channel's name. The same header in the response says that
the answer is being published; it is missing if the answer is no event stream.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from gateway.channels.answer import PublishedAnswer
from gateway.channels.channels import Channels
from gateway.errors import Forbidden
from gateway.middleware.channels import ChannelOptions
from gateway.proxy.relay import RelayedResponse
from gateway.request import Request

HEADER = "X-Gateway-Publish"


class PublishAnswer:
    """Policy of one route."""

    def __init__(self, options: ChannelOptions, channels: Channels, scopes: Iterable[str]) -> None:
        """`scopes` are those that a publisher needs, all of them. If there are none, nobody may
        publish.
        """
        self._options = options
        self._channels = channels
        self._scopes = frozenset(scopes)

    def on_request(self, request: Request) -> None:
        """Check the channel's name, and the caller's scopes. Raise Forbidden or ChannelNotFound."""
        name = request.headers.get(HEADER)
        if name is None:
            return
        principal = request.exchange.principal
        held = frozenset[str]() if principal is None else principal.scopes
        if not self._scopes or not self._scopes <= held:
            raise Forbidden(f"publishing needs {' '.join(sorted(self._scopes - held)) or 'scopes'}")
        self._options.address(request.exchange, name)

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Publish the events of the response, if it is a stream that succeeds."""
        name = request.headers.get(HEADER)
        if name is None or not isinstance(response, RelayedResponse):
            return response
        if response.status == 200 and response.is_legible_stream:
            where = self._options.address(request.exchange, name)
            answer = PublishedAnswer(self._channels, where, self._options.max_event_bytes)
            response.tee(answer.feed)
            request.exchange.at_end(answer.finish)
            request.exchange.response_headers.append((HEADER, name))
        return response
