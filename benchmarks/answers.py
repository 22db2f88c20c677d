"""Check that a peer answers like the backend, made before anything is timed."""

from __future__ import annotations

import http.client
import json
import re
import time
from typing import Any

_CHAT, _MESSAGES_PATH = "/v1/chat/completions", "/v1/messages"
_PATIENCE_S = 30.0
_SENT_AT = re.compile(rb"t=(\d+) ")
_MESSAGES = [{"role": "user", "content": "Say hello."}]
_UNARY = {"model": "mock-20-0", "stream": False, "messages": _MESSAGES}
_STREAM = {"model": "mock-10-50000", "stream": True, "messages": _MESSAGES}


class WrongAnswer(Exception):
    """A peer did not answer like the backend."""


def check(port: int, backend: int, token: str | None, *, rewritten: bool = False) -> None:
    """Compare a peer's answers with the backend's own. Raise WrongAnswer.

    A chat and a stream must be identical except for the times in the events, and for
    parameters of the media type. A stream must not be buffered. A peer that requires a token must
    refuse requests without one. Of a peer that writes answers anew (`rewritten`), only the text
    and the number of events are compared.
    """
    try:
        if rewritten:
            _check_text(port, backend, token)
            return
        if _ask(port, token) != _ask(backend, None):
            raise WrongAnswer("a chat is not what the backend answers")
        _check_stream(port, backend, token)
        if token is not None:
            status, _, _ = _ask(port, None)
            if status != 401:
                raise WrongAnswer(f"{status} without a token, not 401")
    except (OSError, http.client.HTTPException) as exc:
        raise WrongAnswer(f"no whole answer: {exc!r}") from exc


def check_translated(port: int, backend: int) -> None:
    """Compare the answers of a peer with Anthropic's callers with those of its OpenAI backend:
    the text, and the number of events with text. Raise WrongAnswer.
    """
    try:
        status, _, body = _ask(port, None, _MESSAGES_PATH)
        if status != 200:
            raise WrongAnswer(f"{status} for a translated chat: {body[:500]!r}")
        pieces = json.loads(body).get("content")
        if not pieces:
            raise WrongAnswer(f"a chat is not translated: {body[:500]!r}")
        said = pieces[0]["text"]
        expected = json.loads(_ask(backend, None)[2])["choices"][0]["message"]["content"]
        if said != expected:
            raise WrongAnswer(f"a translated chat says {said!r}, the backend {expected!r}")
        events = [line for line, _ in _ask_stream(port, None, _MESSAGES_PATH)[2]]
        deltas = sum(b"text_delta" in line and b"t=" in line for line in events)
        sent = sum(b"t=" in line for line, _ in _ask_stream(backend, None)[2])
        if deltas != sent or not any(b"message_stop" in line for line in events):
            raise WrongAnswer(f"a translated stream has {deltas} events with text, not {sent}")
    except (OSError, http.client.HTTPException) as exc:
        raise WrongAnswer(f"no whole answer: {exc!r}") from exc


def _check_text(port: int, backend: int, token: str | None) -> None:
    texts = []
    for asked, credential in ((port, token), (backend, None)):
        status, _, body = _ask(asked, credential)
        if status != 200:
            raise WrongAnswer(f"{status} for a chat: {body[:500]!r}")
        texts.append(json.loads(body)["choices"][0]["message"]["content"])
    if texts[0] != texts[1]:
        raise WrongAnswer(f"a chat says {texts[0]!r}, the backend {texts[1]!r}")
    counts = [
        sum(b'"content":"t=' in line.replace(b": ", b":") for line, _ in _ask_stream(*which)[2])
        for which in ((port, token), (backend, None))
    ]
    if counts[0] != counts[1]:
        raise WrongAnswer(f"a stream has {counts[0]} events with text, the backend's {counts[1]}")


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


def _ask(port: int, token: str | None, path: str = _CHAT) -> tuple[int, str, bytes]:
    """Send a request. Return status, media type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        response = _send(connection, _UNARY, token, path)
        return response.status, _media_type(response), response.read()
    finally:
        connection.close()


def _ask_stream(
    port: int, token: str | None, path: str = _CHAT
) -> tuple[int, str, list[tuple[bytes, int]]]:
    """Request a stream. Return status, media type, and each line with the time at which it was
    read (CLOCK_MONOTONIC, in ns).
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        response = _send(connection, _STREAM, token, path)
        lines = [(line, time.monotonic_ns()) for line in response]
        return response.status, _media_type(response), lines
    finally:
        connection.close()


def _media_type(response: http.client.HTTPResponse) -> str:
    return response.getheader("content-type", "").partition(";")[0]


def _send(
    connection: http.client.HTTPConnection, body: dict[str, Any], token: str | None, path: str
) -> http.client.HTTPResponse:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if path == _MESSAGES_PATH:
        body = {"max_tokens": 100, **body}
    # mockllm looks for `"stream":true` as sseload writes it.
    connection.request("POST", path, json.dumps(body, separators=(",", ":")), headers)
    return connection.getresponse()
