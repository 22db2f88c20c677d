"""Parse images in requests: data URLs, media types and file signatures."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from gateway.dialects.translation.conversation import Image, ImageUrl

_DATA_URL = re.compile(r"data:([^;,]{0,127})((?:;[^;,]{0,127}){0,8}),", re.IGNORECASE)
"""Data URL (RFC 2397): media type, parameters such as `;charset=utf-8` and `;base64`, data."""
_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_SIGNATURES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def media_type(name: str) -> str:
    """Return the registered name of a media type: `image/jpeg` for the unregistered `image/jpg`."""
    name = name.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


def signature(data: str) -> str | None:
    """Return the media type of base64 data by its first bytes: PNG, JPEG, GIF or WebP, or None.

    Raise ValueError if the data is not base64.
    """
    head = base64.b64decode(data[:16], validate=True)
    return next((kind for start, kind in _SIGNATURES if head.startswith(start)), None)


def image_of(url: str) -> Image | ImageUrl | None:
    """Return the image at a URL; None for a data URL without a base64 image."""
    if url[:5].lower() != "data:":
        return ImageUrl(url)
    match = _DATA_URL.match(url)
    if match is None or not match[2].lower().endswith(";base64"):
        return None
    data = url[match.end() :]
    if "%" in data:
        data = unquote(data)
    kind = media_type(match[1])
    if not kind.startswith("image/"):
        try:
            kind = signature(data) or ""
        except ValueError:
            return None
    return Image(kind, data) if kind else None
