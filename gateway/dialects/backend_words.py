"""Extract one line of text from a backend's error body, whatever its shape.

Backends, and the proxies in front of them, report errors as OpenAI, Anthropic or Ollama documents,
as FastAPI's `detail`, as arrays, as plain text or as HTML pages. The extracted line is shown to
callers. Therefore it is bounded and printable, and credentials and addresses of the backend are
masked.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway.masking import mask_text

LONGEST_BYTES = 64 * 1024
"""Maximum bytes of a body that are examined."""
LONGEST_CHARS = 2000
"""Maximum length of the extracted line, in characters."""
_LONGEST_PAGE = 16 * 1024
_EXAMINED_CHARS = 4000
"""Maximum characters of a message that are searched for secrets and addresses. The search comes
before the message is cut to `LONGEST_CHARS`.
"""
_DEEPEST = 6
_MOST_ITEMS = 5
_MESSAGES = (
    *("message", "msg", "error_message", "error_msg", "error_description", "detail", "details"),
    *("error", "errors", "reason", "title", "description"),
)
"""Members that hold a message or contain an object that does. The most informative come first."""
_NAMES = ("type", "code", "status")
"""Members that name the error, used if there is no message."""
_NO_NAMES = ("error", "about:blank", "")
# All patterns are linear in the text: quantifiers are possessive, or bounded.
_HTML = re.compile(r"<(?:!doctype|html|head|title|body|h1)\b", re.IGNORECASE)
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]++")
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffd]")
_PLACE = re.compile(
    r"(?P<scheme>https?://(?:[^\s/@\"'<>]{0,200}@)?)?(?<![\w.-])"
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|[\w-]++(?:\.[\w-]++)*+)(?P<port>:\d{1,5})?"
    r"(?P<path>(?<=[\w\]])/[^\s\"'<>),;]*+)?",
    re.IGNORECASE,
)
"""Candidates for a URL or a host name; `_hides` decides which are masked."""
_INTERNAL = (".local", ".internal", ".lan", ".svc", ".consul")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_SAYS_HOST = re.compile(r"\bhost=(?:'[^']{0,255}'|\"[^\"]{0,255}\")(?:, ?port=\d{1,5})?")
_ADDRESS = "(address)"
_GZIP = b"\x1f\x8b"


def words_of(body: bytes, endpoint: str | None = None) -> str | None:
    """Return the message in an error body, or None if it holds none.

    `endpoint` is the URL of the backend that sent the body. Its host name is masked in the message.
    """
    body = body[:LONGEST_BYTES]
    if body.startswith(_GZIP):
        body = _decompressed(body)
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text or text.count("\ufffd") * 10 > len(text) or "\x00" in text:
        return None  # empty, compressed or binary
    documents = _documents(text)
    if documents is None:
        return shown(_page(text) if _HTML.search(text[:1024]) else text, endpoint)
    return shown(_words(documents, 0), endpoint)


def words_in(document: object, endpoint: str | None = None) -> str | None:
    """Return the message in a parsed error document, or None if it holds none."""
    return shown(_words(document, 0), endpoint)


def stream_error(tail: bytes, endpoint: str | None = None) -> str | None:
    """Return the message of an error event in the last bytes of a stream; None without one.

    An event that is cut at the start of `tail` does not parse and is ignored.
    """
    # Searching backward takes a quarter of the time: JSON has many quotes, the last byte of a key.
    if tail.rfind(b'"error"') < 0 and tail.rfind(b'"response.failed"') < 0:
        return None
    for line in reversed(tail.splitlines()):
        document = _parsed(line.removeprefix(b"data:").strip().decode("utf-8", "replace"))
        if isinstance(document, dict) and (error := _told(document)) is not None:
            return words_in(error, endpoint) or "an error without a reason"
    return None


def is_error(body: bytes) -> bool:
    """True if the body of a response with status 200 is an error document."""
    if body.rfind(b'"error"') < 0:
        return False
    document = _parsed(body.decode("utf-8", "replace"))
    return isinstance(document, dict) and _told(document) is not None


def shown(text: str | None, endpoint: str | None = None) -> str | None:
    """Return `text` as one bounded line without secrets and addresses; None if nothing is left."""
    if text is None:
        return None
    text = _UNSEEN.sub("", _BLANK.sub(" ", text[:LONGEST_BYTES])).strip()
    if len(text) > _EXAMINED_CHARS:
        # Cut at a space: half of a secret or address would not match the patterns below.
        text = text[: text.rfind(" ", 0, _EXAMINED_CHARS) + 1 or _EXAMINED_CHARS]
    own = urlsplit(endpoint).hostname if endpoint is not None else None
    text = _SAYS_HOST.sub(_ADDRESS, mask_text(text))
    text = _PLACE.sub(
        lambda found: _ADDRESS + _rest(found) if _hides(found, own) else found[0], text
    )
    if len(text) > LONGEST_CHARS:
        text = f"{text[: LONGEST_CHARS - 1].rstrip()}…"
    return text or None


def _hides(found: re.Match[str], own: str | None) -> bool:
    """True if the match is the address of a backend or of another internal host."""
    host = found["host"].lower()
    if host == own or host == "localhost" or host.endswith(_INTERNAL):
        return True
    if host[0] == "[":
        return ":" in host
    return _IPV4.fullmatch(host) is not None or (found["scheme"] is not None and "." not in host)


def _rest(found: re.Match[str]) -> str:
    """Return the part of the match to keep: the path, if it has no scheme. A "/" after a bare host
    may join two words, so the text after it is not masked.
    """
    return (found["path"] or "") if found["scheme"] is None else ""


def _decompressed(body: bytes) -> bytes:
    """Return the decompressed beginning of a gzip body."""
    try:
        return zlib.decompressobj(wbits=31).decompress(body, LONGEST_BYTES)
    except zlib.error:
        return b""


def _told(document: Mapping[str, Any]) -> object | None:
    """Return the error in a stream event's document, or None if it reports none."""
    if document.get("type") == "response.failed":
        response = document.get("response")
        error = response.get("error") if isinstance(response, dict) else None
        return error or document
    if document.get("type") == "error" or document.get("object") == "error":
        return document
    return document if document.get("error") and not document.get("choices") else None


def _documents(text: str) -> Any:
    """Parse a body that is JSON, server-sent events or JSON lines; None if it is none of these."""
    if text[0] in "{[":
        document = _parsed(text)
        return document if document is not None else _parsed(text.splitlines()[0])
    if text.startswith(("data:", "event:")):
        lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        return next((found for line in lines if (found := _parsed(line)) is not None), None)
    if text[0] == '"':
        return _parsed(text)
    return None


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def _words(value: object, depth: int) -> str | None:
    if depth > _DEEPEST:
        return None
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in ("{", "[") and (document := _parsed(text)) is not None:
            return _words(document, depth + 1) or text  # JSON wrapped by another proxy
        return text or None
    if isinstance(value, list):
        items = [words for one in value[:_MOST_ITEMS] if (words := _words(one, depth + 1))]
        return "; ".join(items) or None
    if not isinstance(value, dict):
        return None
    for name in _MESSAGES:
        if words := _words(value.get(name), depth + 1):
            return f"{where}: {words}" if (where := _where(value)) else words
    for name in _NAMES:
        said = value.get(name)
        if isinstance(said, str) and said not in _NO_NAMES:
            return said
    return None


def _where(document: Mapping[str, Any]) -> str | None:
    """Return the request field that a FastAPI or pydantic error names in `loc`, with dots."""
    place = document.get("loc")
    return ".".join(map(str, place[:10])) if isinstance(place, list) and place else None


def _page(text: str) -> str:
    """Return the title of an HTML page, else its first heading, else its text."""
    text = text[:_LONGEST_PAGE]
    lowered = text.lower()
    for name in ("title", "h1"):
        start = lowered.find(">", lowered.find(f"<{name}")) + 1
        end = lowered.find(f"</{name}", start)
        if f"<{name}" in lowered and 0 < start < end and text[start:end].strip():
            return html.unescape(text[start:end])
    said, hidden = [], ""
    for piece in text.split("<"):
        tag, _, words = piece.rpartition(">")
        name = tag[:7].lower()
        if hidden:
            hidden = "" if name.startswith(f"/{hidden}") else hidden
        else:
            hidden = next((one for one in ("script", "style") if name.startswith(one)), "")
        if not hidden:
            said.append(words)
    return html.unescape(" ".join(said))
