"""Whole responses: those that the gateway, or a plug-in, made itself."""

from __future__ import annotations

from aiohttp import web
from aiohttp.hdrs import CONTENT_LENGTH, CONTENT_TYPE, DATE
from multidict import CIMultiDict

from gateway.aiohttp_adaptor import rfc822_formatted_time
from gateway.http.headers import checked_lines
from gateway.response_head import http_head

_BODILESS = (204, 304)


def whole_response(response: web.StreamResponse, method: str) -> tuple[bytes, bytes] | None:
    """Return head and body of a response as bytes of HTTP/1.1; None as for `whole_parts`."""
    parts = whole_parts(response, method)
    if parts is None:
        return None
    fields, body = parts
    head = http_head(
        response.status,
        response.reason or "",
        checked_lines(fields.items()),
        response.keep_alive is not False,
    )
    return head, body


def whole_parts(response: web.StreamResponse, method: str) -> tuple[CIMultiDict[str], bytes] | None:
    """Return header fields and body of a response; None if only aiohttp can send it, because it is
    a stream, a file, or compressed on the way.
    """
    if not isinstance(response, web.Response) or response.chunked or response.compression:
        return None
    body = response.body
    if body is None:
        body = b""
    elif not isinstance(body, bytes):
        return None
    status = response.status
    fields = CIMultiDict(response.headers)
    if status == 204 or status < 200:
        fields.pop(CONTENT_LENGTH, None)
    elif status != 304 and not (method == "HEAD" and CONTENT_LENGTH in fields):
        fields[CONTENT_LENGTH] = str(len(body))
    if status in _BODILESS and not body:
        fields.pop(CONTENT_TYPE, None)
    else:
        fields.setdefault(CONTENT_TYPE, "application/octet-stream")
    fields.setdefault(DATE, rfc822_formatted_time())
    for cookie in response.cookies.values():
        fields.add("Set-Cookie", cookie.OutputString())
    return fields, b"" if method == "HEAD" or status in _BODILESS else body
