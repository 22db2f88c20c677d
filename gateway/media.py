"""Token estimates for images, audio and files in a request, by the providers' published rules.

The length of base64 data says little about tokens. Tokens of an image depend on its pixels, those
of audio on its duration. Both are read from the first bytes, without decoding the rest.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_IMAGE_TOKENS = 1600
"""Tokens of an image of unknown size: the maximum for one image by Anthropic's documentation."""
_VIDEO_TOKENS = 10_000
_PAGE_TOKENS, _PAGE_BYTES = 3000, 64 * 1024
"""Tokens and bytes of a page (https://docs.anthropic.com/en/docs/build-with-claude/pdf-support)."""
_AUDIO_TOKENS_PER_S = 10.0
_AUDIO_BYTES_PER_S = 4000.0
"""Bytes a second of compressed audio: 32 kbit/s, low so that durations are not underestimated."""
_AUDIO_MOST_BYTES_PER_S = 1_536_000.0
"""Maximum accepted from the head of a file: two channels of 192 kHz, four bytes a sample."""
_SHORT_CHARS = 1024
"""Maximum length of a text that is taken for a URL, a name or an id, not for data."""
_HEAD_CHARS = 64
_JPEG_CHARS = 128 * 1024
"""Characters of base64 searched for a JPEG's size: metadata and a preview may come before it."""
_MOST_TEXTS = 100
_MOST_PARTS = 20_000
"""Maximum number of parts inspected in one request. Later parts count by their length only."""
_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Frame header markers of JPEG, which contain the size (ITU-T T.81, table B.1)."""


class Media(NamedTuple):
    """Totals of all media in one request."""

    chars: int
    """Length in the body, encoded as base64."""
    tokens: int


_MAY_HOLD_MEDIA = frozenset(
    {"content", "image", "images", "input", "output", "source", "system", "type"}
)
"""Members of a request, besides its messages, that may hold media."""


def is_text(document: Mapping[str, Any]) -> bool:
    """Tell whether a request surely has no media: its messages are a few of text only, as in most.
    A cheap check; False says nothing.
    """
    messages = document.get("messages")
    if (
        type(messages) is not list
        or len(messages) > _MOST_TEXTS
        or not _MAY_HOLD_MEDIA.isdisjoint(document)
    ):
        return False
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return False
        if type(message.get("content")) is not str or "role" not in message:
            return False
    return True


def media(document: Mapping[str, Any]) -> Media:
    """Return the media in the messages of a request in OpenAI's, Anthropic's or Ollama's form."""
    chars = tokens = 0
    left = _MOST_PARTS
    for part in _parts(document):
        kind = part.get("type")
        if type(kind) is str and (cost_of := _KINDS.get(kind)) is not None:
            size, cost = cost_of(part)
            chars += size
            tokens += cost
        images = part.get("images")  # Ollama, and OpenAI's edits of images
        images = images[: max(0, left)] if type(images) is list else []
        if type(image := part.get("image")) is str and len(image) > _SHORT_CHARS:
            images = [*images, image]
        left -= len(images)
        for image in images:
            if isinstance(image, str):
                data = _data(image) or image
                chars += len(data)
                tokens += _by_area(_size(data))
            elif isinstance(image, dict):
                size, cost = _image_url(image)
                chars += size
                tokens += cost
    return Media(chars, tokens)


def modalities(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the kinds of media in the messages of a request: image, audio, video and file. Text is
    not listed.
    """
    if is_text(document):
        return frozenset()
    found: set[str] = set()
    for part in _parts(document):
        kind = part.get("type")
        if type(kind) is str and (modality := _MODALITIES.get(kind)) is not None:
            source = part.get("source")
            if not isinstance(source, dict) or source.get("type") not in ("text", "content"):
                found.add(modality)
        if part.get("images"):
            found.add("image")
    return frozenset(found)


def _parts(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a request that may be media, and the request itself."""
    left = _MOST_PARTS
    waiting: list[Any] = [document]
    for name in ("messages", "input", "system"):
        if isinstance(value := document.get(name), list):
            waiting.append(value)
    while waiting and left > 0:
        value = waiting.pop()
        parts = value if isinstance(value, list) else (value,)
        for part in parts:
            left -= 1
            if left < 0:
                break
            if type(part) is not dict:
                continue
            inner = part.get("content")
            if type(inner) is str and len(part) == 2 and "role" in part:
                continue  # a message of text
            if type(inner) is list:
                waiting.append(inner)
            if type(inner := part.get("output")) is list or type(inner) is dict:
                waiting.append(inner)
            if type(inner := part.get("source")) is dict and type(inner.get("content")) is list:
                waiting.append(inner["content"])
            yield part


def _image_url(part: Mapping[str, Any]) -> tuple[int, int]:
    """Return length and tokens of an image in OpenAI's format, for chats and for responses."""
    url: Any = part.get("image_url")
    detail = part.get("detail")
    if isinstance(url, dict):
        url, detail = url.get("url"), url.get("detail")
    data = _data(url)
    return len(data), _by_tiles(_size(data), low=detail == "low")


def _image(part: Mapping[str, Any]) -> tuple[int, int]:
    """Return length and tokens of an image in Anthropic's format."""
    data = _source(part)
    return len(data), _by_area(_size(data))


def _audio(part: Mapping[str, Any]) -> tuple[int, int]:
    inner = part.get("input_audio") or part.get("audio_url")
    data = ""
    if isinstance(inner, dict):
        data = inner["data"] if isinstance(inner.get("data"), str) else _data(inner.get("url"))
    return len(data), max(1, round(_seconds(data) * _AUDIO_TOKENS_PER_S))


def _video(part: Mapping[str, Any]) -> tuple[int, int]:
    inner = part.get("video_url")
    return len(_data(inner.get("url") if isinstance(inner, dict) else inner)), _VIDEO_TOKENS


def _document(part: Mapping[str, Any]) -> tuple[int, int]:
    """Return length and tokens of a file; text in a document counts as text."""
    inner = part.get("file")
    told = inner.get("file_data") if isinstance(inner, dict) else part.get("file_data")
    data = _data(told) or _source(part)
    pages = math.ceil(len(data) * 3 / 4 / _PAGE_BYTES)
    return len(data), pages * _PAGE_TOKENS


_KINDS = {
    "image_url": _image_url,
    "input_image": _image_url,
    "computer_screenshot": _image_url,
    "image": _image,
    "input_audio": _audio,
    "audio_url": _audio,
    "video_url": _video,
    "document": _document,
    "file": _document,
    "input_file": _document,
}
"""Functions by the type of a message part."""
_MODALITIES = {
    "image_url": "image",
    "input_image": "image",
    "computer_screenshot": "image",
    "image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
    "document": "file",
    "file": "file",
    "input_file": "file",
}
"""Modalities by the type of a message part."""


def _source(part: Mapping[str, Any]) -> str:
    source = part.get("source")
    if isinstance(source, dict) and source.get("type") == "base64":
        data = source.get("data")
        return data if isinstance(data, str) else ""
    return ""


def _data(url: object) -> str:
    """Return the base64 data of a `data:` URL, or of a text that is too long for another URL."""
    if not isinstance(url, str):
        return ""
    if url[:5].lower() == "data:":
        return url.partition(",")[2]
    return "" if len(url) <= _SHORT_CHARS or "://" in url[:16] else url


# -- tokens --------------------------------------------------------------------------------------


def _by_tiles(size: tuple[int, int] | None, *, low: bool) -> int:
    """Return tokens by OpenAI's rule:
    https://platform.openai.com/docs/guides/images-vision#calculating-costs
    """
    if low:
        return 85
    if size is None:
        return _IMAGE_TOKENS
    width, height = size
    scale = min(1.0, 2048 / max(size), 768 / min(size))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    return 85 + 170 * tiles


def _by_area(size: tuple[int, int] | None) -> int:
    """Return tokens by Anthropic's rule:
    https://docs.anthropic.com/en/docs/build-with-claude/vision#evaluate-image-size
    """
    if size is None:
        return _IMAGE_TOKENS
    return min(_IMAGE_TOKENS, math.ceil(size[0] * size[1] / 750))


def _seconds(data: str) -> float:
    head = _decoded(data, _HEAD_CHARS)
    rate = _AUDIO_BYTES_PER_S
    if len(head) >= 32 and head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        told = float(struct.unpack_from("<I", head, 28)[0])
        rate = min(max(rate, told), _AUDIO_MOST_BYTES_PER_S)
    return len(data) * 3 / 4 / rate


# -- sizes ---------------------------------------------------------------------------------------


def _size(data: str) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, GIF, WebP or JPEG; None if unknown."""
    head = _decoded(data, _HEAD_CHARS)
    size: tuple[int, int] | None = None
    if len(head) < 32:
        return None
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        size = struct.unpack_from(">II", head, 16)
    elif head.startswith(b"GIF8"):
        size = struct.unpack_from("<HH", head, 6)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        size = _webp(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg(_decoded(data, _JPEG_CHARS))
    return size if size is not None and all(size) else None


def _webp(head: bytes) -> tuple[int, int] | None:
    """Return the size (RFC 9649, https://developers.google.com/speed/webp/docs/riff_container)."""
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _decoded(data: str, chars: int) -> bytes:
    piece = data[:chars]
    try:
        return base64.b64decode(piece[: len(piece) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""
