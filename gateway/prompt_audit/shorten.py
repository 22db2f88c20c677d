"""Shortening of bodies for records: binary data in base64 is left out, and long bodies are cut."""

from __future__ import annotations

import string

_BASE64 = (string.ascii_letters + string.digits + "+/=_-").encode()
_STEP_BYTES = 2048
_LEAST_BYTES = 2 * _STEP_BYTES
"""Shortest data that is left out. So one step of the search is always within it."""
_LONG_STEP_BYTES = 64 * 1024
MARGIN_BYTES = 1024
"""Bytes that are kept beyond the cap until the text is redacted: what the cut splits could not be
recognised.
"""


def shortened(body: bytes, cap_bytes: int, *, media: bool) -> tuple[bytes, bool]:
    """Return the first bytes of a body, `cap_bytes` and a margin, and True if that is not all. The
    work does not depend on the length of the rest. `media`: keep data in base64.
    """
    room = cap_bytes + MARGIN_BYTES
    if media or len(body) < _LEAST_BYTES:
        return (body, False) if len(body) <= cap_bytes else (body[:room], True)
    kept: list[bytes] = []
    at = 0
    while at < len(body) and room > 0:
        run = _next_run(body, at, min(len(body), at + room))
        end = min(len(body), at + room) if run is None else run[0]
        kept.append(body[at:end])
        room -= end - at
        at = end
        if run is not None:
            note = b"[%d bytes of base64]" % (run[1] - run[0])
            kept.append(note)
            room -= len(note)
            at = run[1]
    short = b"".join(kept)
    is_cut = at < len(body) or len(short) > cap_bytes
    return short, is_cut


def cut(text: str, cap_bytes: int) -> str:
    """Return the first bytes of a text that was shortened and redacted since."""
    data = text.encode("utf-8", "replace")
    return data[: min(cap_bytes, max(0, len(data) - MARGIN_BYTES))].decode("utf-8", "ignore")


def _next_run(body: bytes, start: int, stop: int) -> tuple[int, int] | None:
    """Return where the next long data in base64 begins, before `stop`, and where it ends."""
    # One that begins before `stop` fills a whole step soon after it.
    for at in range(start, stop + _STEP_BYTES, _STEP_BYTES):
        if not _is_base64(body[at : at + _STEP_BYTES], _STEP_BYTES):
            continue
        before = body[max(start, at - _STEP_BYTES) : at]
        begin = at - (len(before) - len(before.rstrip(_BASE64)))
        end = at + _STEP_BYTES
        while _is_base64(body[end : end + _LONG_STEP_BYTES], 1):
            end += _LONG_STEP_BYTES
        rest = body[end : end + _LONG_STEP_BYTES]
        end = min(len(body), end + len(rest) - len(rest.lstrip(_BASE64)))
        if begin < stop and end - begin >= _LEAST_BYTES:
            return begin, end
    return None


def _is_base64(data: bytes, least_bytes: int) -> bool:
    return len(data) >= least_bytes and not data.translate(None, _BASE64)
