"""Reading a JSON object field by field; one of a wrong type, or that nobody reads, is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.errors import NotTranslatable, RequestError

_INDEX = re.compile(r"\[\d+\]")
_SHOWABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Fields:
    """One object of a request. A field that is null counts as absent."""

    __slots__ = ("_left", "_where", "dropped")

    def __init__(
        self, document: dict[str, Any], where: str = "", dropped: list[str] | None = None
    ) -> None:
        """`where` is its place in the body, for errors."""
        self._left = {key: value for key, value in document.items() if value is not None}
        self._where = where
        self.dropped: list[str] = [] if dropped is None else dropped
        """Names of what was dropped, here and in the objects inside."""

    def __bool__(self) -> bool:
        """Whether any field is left to read."""
        return bool(self._left)

    def place(self, key: str) -> str:
        """What errors call a field of it."""
        return f"{self._where}.{key}" if self._where else key

    def any(self, key: str) -> Any:
        """Whatever it is; None if absent."""
        return self._left.pop(key, None)

    def text(self, key: str) -> str | None:
        """A string."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(key, "a string")

    def needed(self, key: str) -> str:
        """A string that has to be there."""
        value = self.text(key)
        if value is None:
            raise self.wrong(key, "there")
        return value

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, bool):
            return value
        raise self.wrong(key, "true or false")

    def whole(self, key: str) -> int | None:
        """A whole number."""
        value = self._left.pop(key, None)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self.wrong(key, "a whole number")

    def number(self, key: str) -> float | None:
        """A number."""
        value = self._left.pop(key, None)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        raise self.wrong(key, "a number")

    def items(self, key: str) -> list[Any]:
        """A list; empty if absent."""
        value = self._left.pop(key, None)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self.wrong(key, "a list")

    def texts(self, key: str) -> list[str]:
        """A list of strings, or one string; empty if absent."""
        value = self._left.get(key)
        if isinstance(value, str):
            del self._left[key]
            return [value]
        values = self.items(key)
        if all(isinstance(one, str) for one in values):
            return values
        raise self.wrong(key, "a string or a list of strings")

    def document(self, key: str) -> dict[str, Any] | None:
        """An object that is carried as it is."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, dict):
            return value
        raise self.wrong(key, "an object")

    def object(self, key: str) -> Fields | None:
        """An object that is read in its turn."""
        value = self.document(key)
        return None if value is None else Fields(value, self.place(key), self.dropped)

    def objects(self, key: str) -> Iterator[Fields]:
        """A list of objects that are read in their turn."""
        for index, value in enumerate(self.items(key)):
            place = f"{self.place(key)}[{index}]"
            if not isinstance(value, dict):
                raise RequestError(f"'{place}' has to be an object.", param=place)
            yield Fields(value, place, self.dropped)

    def text_or_objects(self, key: str) -> str | Iterator[Fields]:
        """One string, or a list of objects that are read in their turn; absent: an empty list."""
        value = self._left.get(key)
        if isinstance(value, str):
            del self._left[key]
            return value
        return self.objects(key)

    def drop(self, *keys: str) -> None:
        """Fields that are not carried, and need not be: docs/dialects.md names them."""
        for key in keys:
            if key in self._left and not _asks_for_nothing(self._left.pop(key)):
                self.note(key)

    def ignore(self, *keys: str) -> None:
        """Fields that say nothing beside what is read."""
        for key in keys:
            self._left.pop(key, None)

    def note(self, key: str) -> None:
        """A field is not carried, or not as it was."""
        name = _INDEX.sub("", self.place(key))
        if name not in self.dropped:
            self.dropped.append(name)

    def end(self) -> None:
        """All was read. Raise NotTranslatable for what is left, unless it asks for nothing."""
        for key, value in self._left.items():
            if not _asks_for_nothing(value):
                raise self.untranslatable(key)

    def wrong(self, key: str, what: str) -> RequestError:
        """It is not what it has to be."""
        place = self.place(key)
        return RequestError(f"'{place}' has to be {what}.", param=place)

    def untranslatable(self, key: str, why: str = "") -> NotTranslatable:
        """There is nothing like it in the backend's dialect."""
        shown = self.place(key) if _SHOWABLE.fullmatch(key) else self._where or "a field"
        return NotTranslatable(shown, why)


def _asks_for_nothing(value: Any) -> bool:
    return value is False or value in ("", [], {})
