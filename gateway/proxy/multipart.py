"""Where the `model` field of a multipart/form-data body stands (RFC 7578).

The whole body is looked at: a second field of that name behind the file must not reach an upstream
that would believe the last one.
"""

from __future__ import annotations

import re
from email.message import Message

from gateway.errors import RequestError

_NAME_CAP_BYTES = 1024
_DISPOSITION = re.compile(
    rb"^content-disposition[ \t]*:[ \t]*form-data[ \t]*;"
    rb"(?:[^\r\n]*;)?[ \t]*name=(?:\"model\"|model(?=[;\s]|\Z))",
    re.IGNORECASE | re.MULTILINE,
)


def boundary_of(content_type: str) -> bytes:
    """The boundary parameter. Raise RequestError where there is none."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 70:
        raise RequestError("The multipart body needs a boundary of 1 to 70 characters.")
    return boundary.encode("latin-1", "replace")


def find_model_field(body: bytes, boundary: bytes) -> tuple[int, int]:
    """Start and end of the field's value, which may stand before or behind the file.

    Raise RequestError if the field is missing, given twice, or too long to be a name.
    """
    delimiter = b"\r\n--" + boundary
    spans: list[tuple[int, int]] = []
    # The first delimiter may open the body; later ones begin with the line break they end.
    position = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    while position >= 2 or (position == 0 and not spans):
        head_end = body.find(b"\r\n\r\n", position)
        next_delimiter = body.find(delimiter, head_end + 2) if head_end >= 0 else -1
        if next_delimiter < 0:
            break
        if _DISPOSITION.search(body, position, head_end):
            spans.append((head_end + 4, next_delimiter))
        position = next_delimiter + 2
    if not spans:
        raise RequestError("The form has no 'model' field.", code="model_required", param="model")
    if len(spans) > 1:
        raise RequestError("'model' is given more than once.", param="model")
    (start, end) = spans[0]
    if end - start > _NAME_CAP_BYTES:
        raise RequestError("The 'model' field is too long.", param="model")
    return start, end
