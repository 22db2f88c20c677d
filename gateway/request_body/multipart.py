"""Search for the `model` field in a multipart/form-data body (RFC 7578, RFC 2046 section 5.1).

Form parsers disagree on many details: padding after a boundary, bare line feeds, folded or repeated
headers, escapes in names. A form with such a detail could name one model to the gateway and another
to the upstream. So only plain forms are accepted, and the whole body is checked.
"""

from __future__ import annotations

import re

from gateway.errors import RequestError

_VALUE_CAP_BYTES = 1024
_HEAD_CAP_BYTES = 8 * 1024
_MOST_PARTS = 4000
"""More parts would block the event loop: a part takes about 5 µs, and at least 60 bytes."""
_IDENTITY_ENCODINGS = (b"7bit", b"8bit", b"binary")
"""Values of Content-Transfer-Encoding that change no byte (RFC 2045 section 6.2). Some clients send
them, although forms should not (RFC 7578 section 4.7).
"""
_CHARSET = r'(?:[ \t]*;[ \t]*charset="?utf-8"?)?'
_CONTENT_TYPE = re.compile(
    rf"""[ \t]*multipart/form-data{_CHARSET}[ \t]*;[ \t]*boundary=
    (?:"(?P<quoted>[0-9A-Za-z'()+_,./:=?\ -]{{0,69}}[0-9A-Za-z'()+_,./:=?-])"
    |(?P<token>[0-9A-Za-z'+_.-]{{1,70}})){_CHARSET}[ \t]*""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_HEAD_LINE = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):(?P<value>[^\r\n\0]*)")
_DISPOSITION = re.compile(rb"[ \t]*form-data(?P<parameters>(?:[ \t]*;.*)?)", re.IGNORECASE)
_ONE_PARAMETER = re.compile(
    rb"""[ \t]*;[ \t]*(?P<key>name|filename|filename\*)=
    (?:"(?P<quoted>(?:[^"\\]|\\(?!"))*)"|(?P<token>[!\#$%&'*+.^_`|~0-9A-Za-z-]+))[ \t]*""",
    re.IGNORECASE | re.VERBOSE,
)


def boundary_of(content_type: str) -> bytes:
    """Return the boundary parameter.

    Raise RequestError unless it is the only parameter besides a charset of UTF-8, and consists of
    the characters of RFC 2046 section 5.1.1: parsers disagree on any others.
    """
    match = _CONTENT_TYPE.fullmatch(content_type)
    if match is None:
        raise RequestError(
            "The form needs a Content-Type of multipart/form-data with one plain boundary.",
            code="invalid_form",
        )
    return (match["quoted"] or match["token"]).encode()


def find_model_field(body: bytes, boundary: bytes) -> tuple[int, int]:
    """Return start and end of the field's value, which may come before or after the file.

    Raise RequestError if the form is not plain, or if the field is missing, given twice, or too
    long for a name.
    """
    span = model_field(body, boundary)
    if span is None:
        raise RequestError("The form has no 'model' field.", code="model_required", param="model")
    return span


def model_field(body: bytes, boundary: bytes) -> tuple[int, int] | None:
    """Return the same as `find_model_field`, or None if the field is missing."""
    spans = []
    for head_start, head_end, end in _parts(body, boundary):
        name, encoded = _field(body[head_start:head_end])
        if name == b"model":
            if encoded:
                raise _not_plain("a transfer encoding on the model")
            spans.append((head_end + 4, end))
    if not spans:
        return None
    if len(spans) > 1:
        raise RequestError("'model' is given more than once.", param="model")
    ((start, end),) = spans
    if end - start > _VALUE_CAP_BYTES:
        raise RequestError("The 'model' field is too long.", param="model")
    return start, end


def _parts(body: bytes, boundary: bytes) -> list[tuple[int, int, int]]:
    """Return head start, head end and end of every part."""
    first = b"--" + boundary + b"\r\n"
    between = b"\r\n" + first
    last = b"\r\n--" + boundary + b"--"
    end = len(body.removesuffix(b"\r\n")) - len(last)
    if not body.startswith(first) or not body.startswith(last, max(end, 0)):
        raise _not_plain("no boundary at its start or its end")
    parts: list[tuple[int, int, int]] = []
    start = len(first)
    while True:
        stop = body.find(between, start - 2, end)
        stop = end if stop < 0 else stop
        head_end = body.find(b"\r\n\r\n", start, stop)
        if head_end < 0:
            raise _not_plain("a part without a head")
        if head_end - start > _HEAD_CAP_BYTES or len(parts) == _MOST_PARTS:
            raise _not_plain("too long a head, or too many parts")
        parts.append((start, head_end, stop))
        if stop == end:
            break
        start = stop + len(between)
    if body.count(b"--" + boundary) != len(parts) + 1:
        raise _not_plain("a boundary that is not on a line of its own")
    return parts


def _field(head: bytes) -> tuple[bytes, bool]:
    """Return a part's field name, and True if its head says that the value is encoded."""
    disposition: bytes | None = None
    encoded = False
    for line in head.split(b"\r\n"):
        match = _HEAD_LINE.fullmatch(line)
        if match is None:
            raise _not_plain("a malformed line in a part's head")
        name = match["name"].lower()
        if name == b"content-disposition":
            if disposition is not None:
                raise _not_plain("two dispositions in one part")
            disposition = match["value"]
        if name == b"content-transfer-encoding":
            encoded = encoded or match["value"].strip().lower() not in _IDENTITY_ENCODINGS
    found = _DISPOSITION.fullmatch(disposition or b"")
    if found is None:
        raise _not_plain("a part without a disposition")
    return _field_name(found["parameters"]), encoded


def _field_name(parameters: bytes) -> bytes:
    name: bytes | None = None
    position = 0
    while position < len(parameters):
        match = _ONE_PARAMETER.match(parameters, position)
        if match is None:
            raise _not_plain("an unusual parameter of a disposition")
        if match["key"].lower() == b"name":
            value = match["quoted"] if match["quoted"] is not None else match["token"]
            if name is not None or b"\\" in value:
                raise _not_plain("an ambiguous field name")
            name = value
        position = match.end()
    if name is None:
        raise _not_plain("a part without a name")
    return name


def _not_plain(what: str) -> RequestError:
    return RequestError(
        "The form is not plain multipart/form-data, so its model cannot be told for sure.",
        code="invalid_form",
        reason=what,
    )
