"""Checks of refusals: every one must have the same form, whatever bytes caused it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tests.support.client import ConnectionEnded, MalformedResponse, RawClient, Response
from tests.support.control import CONTROL_TARGET, control_request
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import PATIENCE_S

_ERROR_KEYS = {"message", "type", "code", "param"}


def error_flaw(response: Response, status: int | Collection[int]) -> str:
    """Return what is wrong with an error response in OpenAI's form; empty if nothing is."""
    statuses = {status} if isinstance(status, int) else set(status)
    if response.status not in statuses:
        return f"answered {response.status}, not {status}"
    if not response.clean_end:
        return f"body cut short: {response.body!r}"
    if response.value("content-type") not in (
        b"application/json",
        b"application/json; charset=utf-8",
    ):
        return f"Content-Type {response.value('content-type')!r}"
    try:
        document = response.json()
    except ValueError:
        return f"not JSON: {response.body!r}"
    error = document.get("error") if isinstance(document, Mapping) else None
    if not isinstance(error, Mapping) or not set(error) >= _ERROR_KEYS:
        return f"not an error object: {response.body!r}"
    if not all(isinstance(error[key], str) and error[key] for key in ("message", "type", "code")):
        return f"message, type and code are not all text: {response.body!r}"
    if not isinstance(error["param"], str | None):
        return f"param is neither text nor null: {response.body!r}"
    return ""


def assert_error(response: Response, status: int, *, code: str | None = None) -> None:
    """Assert that a response is an error with this status, and with this code if given."""
    flaw = error_flaw(response, status)
    assert not flaw, flaw
    if code is not None:
        assert response.json()["error"]["code"] == code


async def refusal_flaw(
    port: int, raw: bytes, status: int | Collection[int] = 400, *, then: bytes = b""
) -> str:
    """Send bytes that must be refused, with the connection closed. Return what is wrong, or an
    empty text. `then` is sent in a second packet.
    """
    async with RawClient(port, patience_s=PATIENCE_S) as client:
        try:
            await client.send(raw)
            if then:
                await client.send(then)
            response = await client.read_response()
            if flaw := error_flaw(response, status):
                return flaw
            if response.value("connection") != b"close":
                return "no Connection: close"
            rest = await client.read_to_end()
        except (ConnectionEnded, TimeoutError, MalformedResponse) as exc:
            return repr(exc)
    return f"a second response: {rest[:80]!r}" if rest else ""


async def assert_nothing_forwarded(port: int, upstream: ScriptedUpstream) -> int:
    """Assert that a control request is served, and that the upstream has received nothing else.

    The control request is also a barrier: bytes forwarded before would have arrived before it.
    Return the number of bytes forwarded before, which is 0.
    """
    await control_request(port)
    targets = [request.target for request in upstream.requests]
    assert targets == [CONTROL_TARGET]
    received = sum(connection.received_bytes for connection in upstream.connections)
    forwarded = received - len(upstream.requests[0].raw)
    assert forwarded == 0
    return forwarded
