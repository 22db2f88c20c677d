"""OpenAI's way to come back to a stream, of its Responses API: `background`, `starting_after`.

Values in, values out: which stream a response's id stands for is looked up elsewhere.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import orjson

from gateway.errors import RequestError
from gateway.resume.log import StreamLog

_PATH = re.compile(r".*/responses/([A-Za-z0-9_.:-]{1,128})(/cancel)?")
_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*([0-9]{1,15})')
_NUMBER = re.compile(r"[0-9]{1,15}")
_DATA = re.compile(rb"^data: ?(.*)$", re.MULTILINE)


def begins(method: str, path: str) -> bool:
    """Whether a request makes a response."""
    return method == "POST" and path.endswith("/responses")


def asked_for(path: str) -> tuple[str, bool] | None:
    """The id of the response that is asked for, and whether it is to be cancelled."""
    match = _PATH.fullmatch(path)
    return (match[1], match[2] is not None) if match else None


def starting_after(query: str) -> int | None:
    """The last event a client has, -1 for none; None if it does not ask for a stream. Raise
    RequestError.
    """
    asked = parse_qs(query)
    if asked.get("stream", [""])[-1] != "true":
        return None
    after = asked.get("starting_after", ["-1"])[-1]
    if after != "-1" and not _NUMBER.fullmatch(after):
        raise RequestError(
            "starting_after is the sequence_number of an event.",
            code="invalid_event_id",
            param="starting_after",
        )
    return int(after)


def response_id(event: bytes) -> str | None:
    """The id of the response whose first event this is."""
    match = _DATA.search(event)
    try:
        document = orjson.loads(match[1]) if match else None
    except orjson.JSONDecodeError:
        return None
    response = document.get("response") if isinstance(document, dict) else None
    found = response.get("id") if isinstance(response, dict) else None
    return found if isinstance(found, str) else None


def place(log: StreamLog, sequence: int) -> int:
    """The number of the event that has this sequence number, or else of the last one before it."""
    after = log.first - 1
    if sequence < 0:
        return after
    for number, event in enumerate(log.pieces(after, log.cap_bytes), log.first):
        match = _SEQUENCE.search(event)
        if match is not None and int(match[1]) > sequence:
            break
        after = number
    return after


def may_be_background(body: bytes) -> bool:
    """Whether a request could ask that it go on without its client: its body is not parsed."""
    return b'"background"' in body


def without_background(body: bytes) -> bytes:
    """The same request, for an upstream that does not know it."""
    document = _object(body)
    document.pop("background", None)
    return orjson.dumps(document)


def cancelled(response: str) -> bytes:
    """What a client is answered that has cancelled one, where its upstream knows nothing of it."""
    return orjson.dumps({"id": response, "object": "response", "status": "cancelled", "output": []})


def _object(body: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
