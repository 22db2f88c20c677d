"""Pictures in requests: data URLs, media types, and what the first bytes tell."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from gateway.dialects.translation.conversation import Image, ImageUrl

_DATA_URL = re.compile(r"data:([^;,]{0,127})((?:;[^;,]{0,127}){0,8}),", re.IGNORECASE)
"""RFC 2397: a media type, parameters such as `;charset=utf-8` and `;base64`, and the data."""
_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_SIGNATURES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def media_type(name: str) -> str:
    """A media type by its registered name: `image/jpg` is none."""
    name = name.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


def signature(data: str) -> str | None:
    """The media type that the first bytes of base64 tell; None for others than PNG, JPEG, GIF and
    WebP. Raise ValueError for what is no base64.
    """
    head = base64.b64decode(data[:16], validate=True)
    return next((kind for start, kind in _SIGNATURES if head.startswith(start)), None)


def image_of(url: str) -> Image | ImageUrl | None:
    """The picture at a URL; None for a data URL that holds no picture in base64."""
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
