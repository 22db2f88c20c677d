"""Resuming in OpenAI's Responses API: `background` and `starting_after`.

Pure functions. The stream of a response id is looked up elsewhere.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import orjson

from gateway import json_body, sound_json
from gateway.errors import RequestError
from gateway.resume.log import StreamLog

_PATH = re.compile(r".*/responses/([A-Za-z0-9_.:-]{1,128})(/cancel)?")
_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*([0-9]{1,15})')
_NUMBER = re.compile(r"[0-9]{1,15}")
_DATA = re.compile(rb"^data: ?(.*)$", re.MULTILINE)


def begins(method: str, path: str) -> bool:
    """True if a request creates a response."""
    return method == "POST" and path.endswith("/responses")


def asked_for(path: str) -> tuple[str, bool] | None:
    """Return the id of the requested response, and True if it is to be cancelled; else None."""
    match = _PATH.fullmatch(path)
    return (match[1], match[2] is not None) if match else None


def starting_after(query: str) -> int | None:
    """Return the number of the last event that a client has, -1 for none.

    Return None if the client does not ask for a stream. Raise RequestError.
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
    """Return the id of the response whose first event this is, or None."""
    match = _DATA.search(event)
    try:
        document = orjson.loads(match[1]) if match else None
    except orjson.JSONDecodeError:
        return None
    response = document.get("response") if isinstance(document, dict) else None
    found = response.get("id") if isinstance(response, dict) else None
    return found if isinstance(found, str) else None


def place(log: StreamLog, sequence: int) -> int:
    """Return the number of the event with this sequence number, else of the last one before it."""
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
    """True if a request may ask to continue without its client. Searches the body, unparsed."""
    return b'"background"' in body


def without_background(body: bytes) -> bytes:
    """Return a request, a JSON object, without `background`, for an upstream that does not support
    it. Raise RequestError if it is nested too deeply.
    """
    document = sound_json.loads(body)
    document.pop("background", None)
    return json_body.encoded(document)


def cancelled(response: str) -> bytes:
    """Return the answer to a cancellation if the upstream does not know the response."""
    return orjson.dumps({"id": response, "object": "response", "status": "cancelled", "output": []})
