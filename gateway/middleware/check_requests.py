"""Check of requests: a body that violates the JSON Schema of its endpoint is refused, with an error
that names the field.
"""

from __future__ import annotations

from aiohttp import web

from gateway.dialects import Dialect
from gateway.dialects.request_check import check_at, checked_elsewhere
from gateway.dialects.request_description import description
from gateway.json_body import is_heavy_to_edit, refuse_repeated
from gateway.pipeline import Outcome
from gateway.request import Request
from gateway.request_body.reader import BodyReader

_NAME = "openapi.json"


class RequestDescription:
    """Policy that answers `GET openapi.json` below the path of a route."""

    def __init__(self, dialect: Dialect, route_path: str) -> None:
        self._path = route_path + _NAME
        self._body = description(dialect, route_path)

    def on_request(self, request: Request) -> Outcome:
        """Answer a request for the description; return None for any other request."""
        exchange = request.exchange
        if exchange.path != self._path or exchange.method not in ("GET", "HEAD"):
            return None
        return web.Response(body=self._body, content_type="application/json")


class CheckRequests:
    """Policy that checks the bodies of one route, after they were resolved."""

    def __init__(self, dialect: str, reader: BodyReader) -> None:
        self._dialect = dialect
        self._reader = reader

    def on_request(self, request: Request) -> Outcome:
        """Raise RequestError for a wrong body. Raise what `BodyReader.whole` raises."""
        exchange = request.exchange
        if exchange.method != "POST" or exchange.session is not None:
            return None
        check = check_at(self._dialect, exchange.path)
        if check is None:
            return None
        parsed = exchange.json
        if parsed is None or not parsed.whole or is_heavy_to_edit(parsed.raw):
            return self._later(request)
        refuse_repeated(parsed.raw)
        violation = check.violation(parsed.document)
        if violation is not None:
            raise violation
        return None

    async def _later(self, request: Request) -> None:
        """Check a body that was not read yet, or one that is so costly that the helper process
        parsed it, and checks it.
        """
        exchange, reader = request.exchange, self._reader
        body = await reader.whole(request)
        parsed = await reader.parsed(request, body)
        if not parsed.whole or is_heavy_to_edit(body):
            await reader.offload.run(checked_elsewhere, self._dialect, exchange.path, body)
            return
        refuse_repeated(body)
        check = check_at(self._dialect, exchange.path)
        violation = None if check is None else check.violation(parsed.document)
        if violation is not None:
            raise violation
