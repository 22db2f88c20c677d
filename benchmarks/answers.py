"""Check that a peer answers like the backend, made before anything is timed."""

from __future__ import annotations

import http.client
import json
import re
import time

_CHAT = "/v1/chat/completions"
_PATIENCE_S = 10.0
_SENT_AT = re.compile(rb"t=(\d+) ")
_UNARY = {"model": "mock-20-0", "stream": False, "messages": []}
_STREAM = {"model": "mock-10-20000", "stream": True, "messages": []}


class WrongAnswer(Exception):
    """A peer did not answer like the backend."""


def check(port: int, backend: int, token: str | None) -> None:
    """Compare a peer's answers with the backend's own. Raise WrongAnswer.

    A GET, a chat and a stream must be identical except for the times in the events. A stream must
    not be buffered. A peer that requires a token must refuse requests without one.
    """
    try:
        for method, path, body in (("GET", "/v1/models", None), ("POST", _CHAT, _UNARY)):
            if _ask(port, method, path, body, token) != _ask(backend, method, path, body, None):
                raise WrongAnswer(f"{method} {path} is not what the backend answers")
        _check_stream(port, backend, token)
        if token is not None:
            status, _, _ = _ask(port, "POST", _CHAT, _UNARY, None)
            if status != 401:
                raise WrongAnswer(f"{status} without a token, not 401")
    except (OSError, http.client.HTTPException) as exc:
        raise WrongAnswer(f"no whole answer: {exc!r}") from exc


def _check_stream(port: int, backend: int, token: str | None) -> None:
    status, kind, events = _ask_stream(port, token)
    expected = _ask_stream(backend, None)
    texts = [_SENT_AT.sub(b"t= ", line) for line, _ in events]
    if (status, kind, texts) != (
        *expected[:2],
        [_SENT_AT.sub(b"t= ", line) for line, _ in expected[2]],
    ):
        raise WrongAnswer(f"a stream is not what the backend sends: {status} {kind} {texts!r}")
    sent = [int(found[1]) for line, _ in events if (found := _SENT_AT.search(line))]
    first_read_at = events[0][1]
    if not sent or first_read_at >= sent[-1]:
        raise WrongAnswer("the first event of a stream came after the last one was sent")


def _ask(
    port: int, method: str, path: str, body: object, token: str | None
) -> tuple[int, str | None, bytes]:
    """Send a request. Return status, content type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        response = _send(connection, method, path, body, token)
        return response.status, response.getheader("content-type"), response.read()
    finally:
        connection.close()


def _ask_stream(port: int, token: str | None) -> tuple[int, str | None, list[tuple[bytes, int]]]:
    """Request a stream. Return status, content type, and each line with the time at which it was
    read (CLOCK_MONOTONIC, in ns).
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        response = _send(connection, "POST", _CHAT, _STREAM, token)
        lines = [(line, time.monotonic_ns()) for line in response]
        return response.status, response.getheader("content-type"), lines
    finally:
        connection.close()


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, body: object, token: str | None
) -> http.client.HTTPResponse:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    text = None
    if body is not None:
        # mockllm looks for `"stream":true` as sseload writes it.
        text = json.dumps(body, separators=(",", ":"))
        headers["Content-Type"] = "application/json"
    connection.request(method, path, text, headers)
    return connection.getresponse()
