"""Event of a streamed answer, for hooks to read and change."""

from __future__ import annotations

from typing import Any

import orjson

from gateway import sound_json
from gateway.dialects.passages import answer_passages, write_answer
from gateway.exchange import Exchange
from gateway.hooks.content import Hooked
from gateway.sse import Event

_DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
_PLAIN = "text"


class HookedEvent(Hooked):
    """Event of a stream. Unless a hook changes it, its bytes are sent as they arrived."""

    __slots__ = ("_is_line", "_is_plain", "document", "raw")

    def __init__(self, event: Event, exchange: Exchange, *, is_line: bool = False) -> None:
        """`is_line`: the stream is NDJSON, and the event is a line of it. Raise TooDeep."""
        self.raw = event.raw
        """Bytes as they arrived."""
        self._is_line = is_line
        self._is_plain = False
        data = event.data
        document: dict[str, Any] = {}
        if data and data != _DONE:
            try:
                found = sound_json.loads(data)
            except orjson.JSONDecodeError:
                found = None
            if isinstance(found, dict):
                document = found
            else:  # a stream of plain text, or of lists
                self._is_plain = True
                document = {_PLAIN: data.decode("utf-8", "replace")}
        self.document = document
        """Parsed data; empty if the event has none. Do not change it."""
        super().__init__(answer_passages(document), exchange)

    def rendered(self) -> bytes:
        """Return the bytes to send."""
        changes = self.changes
        if not changes:
            return self.raw
        if self._is_plain:
            data = changes[0].encode("utf-8", "replace")
        else:
            write_answer(self.document, changes)
            data = orjson.dumps(self.document)
        if self._is_line:
            return data + b"\n"
        return _with_data(self.raw, data)


def _with_data(raw: bytes, data: bytes) -> bytes:
    """Return an event with other data. Its other lines stay."""
    lines = raw.removeprefix(_BOM).splitlines(keepends=True)
    made: list[bytes] = []
    written = False
    for line in lines:
        if not line.startswith(b"data"):
            made.append(line)
        elif not written:
            written = True
            end = line[len(line.rstrip(b"\r\n")) :] or b"\n"
            made += [b"data: " + part + end for part in data.split(b"\n")]
    return b"".join(made)
