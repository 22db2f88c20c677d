"""Requests, whole answers and windows of streams, for hooks to read and change.

Together with `Refused`, these classes are the interface for hooks from outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.dialects.passages import Passage, PassageKind
from gateway.exchange import Exchange


class Refused(Exception):
    """Raised by a hook to refuse a request or an answer.

    `reason` is for the log, `message` for the caller.
    """

    def __init__(self, reason: str = "", message: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message


class Hooked:
    """Texts that a hook may read and change."""

    __slots__ = ("exchange", "passages")

    def __init__(self, passages: Sequence[Passage], exchange: Exchange) -> None:
        self.passages = passages
        """Texts in order. Assign to the `text` of one to change it."""
        self.exchange = exchange
        """Facts of the request: `principal`, `route`, `model`, `request_id`."""

    @property
    def text(self) -> str:
        """Text of all passages, separated by line ends."""
        return "\n".join(passage.text for passage in self.passages)

    @property
    def is_changed(self) -> bool:
        """True if a text differs from the one that arrived. Raise TypeError if a hook set a text
        to another type.
        """
        for passage in self.passages:
            if passage.text is not passage.original and passage.text != passage.original:
                return bool(self.changes)
        return False

    @property
    def changes(self) -> dict[int, str]:
        """Changed texts by their index. Raise TypeError if a hook set a text to another type."""
        return {
            index: checked_text(passage.text)
            for index, passage in enumerate(self.passages)
            if passage.text != passage.original
        }

    def state(self) -> object:
        """Return the state for `restore`, which undoes the changes of a hook that fails."""
        return [passage.text for passage in self.passages]

    def restore(self, state: Any) -> None:
        """Undo all changes since `state` was returned."""
        for passage, text in zip(self.passages, state, strict=True):
            passage.text = text


def checked_text(text: object) -> str:
    """Return a text that a hook has set. Raise TypeError if it is not a str, or contains a lone
    surrogate.
    """
    if not isinstance(text, str):
        raise TypeError("a hook set a text to something else")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeError("a hook set a text with half a character") from None
    return text


class HookedRequest(Hooked):
    """Request before it is forwarded."""

    __slots__ = ("_members", "document")

    def __init__(
        self, passages: Sequence[Passage], exchange: Exchange, document: Mapping[str, Any]
    ) -> None:
        super().__init__(passages, exchange)
        self.document = document
        """Parsed body. Do not change it. Of a very large one, long members are cut or empty."""
        self._members: dict[str, Any] = {}

    @property
    def model(self) -> str | None:
        """Model that the caller asks for."""
        return self.exchange.model

    @property
    def is_changed(self) -> bool:
        """True if a text or a member was changed."""
        return bool(self._members) or super().is_changed

    @property
    def members(self) -> Mapping[str, Any]:
        """Members that were set."""
        return self._members

    def set(self, name: str, value: Any) -> None:
        """Set a member of the body, such as `temperature`. `model` cannot be set: it is resolved
        already. Raise ValueError.
        """
        if name == "model":
            raise ValueError("the model is resolved before hooks run")
        self._members[name] = value

    def state(self) -> object:
        return super().state(), dict(self._members)

    def restore(self, state: Any) -> None:
        texts, self._members = state
        super().restore(texts)


class HookedAnswer(Hooked):
    """Whole answer before its head is sent."""

    __slots__ = ("document",)

    def __init__(
        self, passages: Sequence[Passage], exchange: Exchange, document: Mapping[str, Any] | None
    ) -> None:
        super().__init__(passages, exchange)
        self.document = document
        """Parsed body. Do not change it. None for plain text and for a very large body."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replacement of the characters from `start` to `end` of a window."""

    start: int
    end: int
    text: str


class TextWindow:
    """Text to judge, held back until then: a part of one passage of a streamed answer, or a whole
    passage of another answer.
    """

    __slots__ = ("before", "edits", "exchange", "held_chars", "is_final", "kind", "text")

    def __init__(
        self, text: str, before: str, kind: PassageKind, exchange: Exchange, *, is_final: bool
    ) -> None:
        self.text = text
        """Text to judge."""
        self.before = before
        """End of the text that has been sent: up to 1000 characters."""
        self.kind = kind
        self.exchange = exchange
        """Facts of the request."""
        self.is_final = is_final
        """True if no more text follows."""
        self.edits: list[Edit] = []
        self.held_chars = 0

    def replace(self, start: int, end: int, text: str) -> None:
        """Replace the characters from `start` to `end`. Edits must not overlap. Raise ValueError,
        or TypeError if `text` is not a str.
        """
        if not 0 <= start <= end <= len(self.text):
            raise ValueError("an edit outside of the window")
        self.edits.append(Edit(start, end, checked_text(text)))
        self.edits.sort(key=lambda edit: (edit.start, edit.end))
        for one, other in zip(self.edits, self.edits[1:], strict=False):
            if other.start < one.end:
                raise ValueError("edits that overlap")

    def hold(self, chars: int) -> None:
        """Keep the last characters for the next window, where they are judged again. The last
        window ignores it.
        """
        self.held_chars = max(0, min(chars, len(self.text)))

    @property
    def is_changed(self) -> bool:
        """True if there are edits."""
        return bool(self.edits)

    @property
    def edited(self) -> str:
        """Text with the edits."""
        pieces: list[str] = []
        at = 0
        for edit in self.edits:
            pieces += (self.text[at : edit.start], edit.text)
            at = edit.end
        return "".join(pieces) + self.text[at:]

    def state(self) -> object:
        return None

    def restore(self, state: Any) -> None:
        """Undo all edits."""
        self.edits = []
        self.held_chars = 0
