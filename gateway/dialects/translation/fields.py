"""Read a JSON object field by field. Fields of a wrong type, and unread fields, are errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.errors import NotTranslatable, RequestError

_INDEX = re.compile(r"\[\d+\]")
_SHOWABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Fields:
    """One JSON object of a request. A null field counts as absent.

    Each method removes the field it reads. Typed methods return None for an absent field unless
    they say otherwise, and raise RequestError for a field of another type.
    """

    __slots__ = ("_left", "_where", "dropped")

    def __init__(
        self, document: dict[str, Any], where: str = "", dropped: list[str] | None = None
    ) -> None:
        """Wrap `document`. `where` is its path in the body, for error messages."""
        self._left = {key: value for key, value in document.items() if value is not None}
        self._where = where
        self.dropped: list[str] = [] if dropped is None else dropped
        """Names of dropped fields, in this object and in nested ones."""

    def __bool__(self) -> bool:
        """True if any field has not been read."""
        return bool(self._left)

    def place(self, key: str) -> str:
        """Return the path of a field, for error messages."""
        return f"{self._where}.{key}" if self._where else key

    def any(self, key: str) -> Any:
        """Read a value of any type."""
        return self._left.pop(key, None)

    def text(self, key: str) -> str | None:
        """Read a string."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(key, "a string")

    def needed(self, key: str) -> str:
        """Read a required string. Raise RequestError if it is absent."""
        value = self.text(key)
        if value is None:
            raise self.wrong(key, "there")
        return value

    def flag(self, key: str) -> bool | None:
        """Read a boolean."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, bool):
            return value
        raise self.wrong(key, "true or false")

    def whole(self, key: str) -> int | None:
        """Read an integer, which some clients write as a float."""
        value = self._left.pop(key, None)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self.wrong(key, "a whole number")

    def number(self, key: str) -> float | None:
        """Read an integer or a float."""
        value = self._left.pop(key, None)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        raise self.wrong(key, "a number")

    def items(self, key: str) -> list[Any]:
        """Read a list; empty if absent."""
        value = self._left.pop(key, None)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self.wrong(key, "a list")

    def texts(self, key: str) -> list[str]:
        """Read a list of strings, or one string as such a list; empty if absent."""
        value = self._left.get(key)
        if isinstance(value, str):
            del self._left[key]
            return [value]
        values = self.items(key)
        if all(isinstance(one, str) for one in values):
            return values
        raise self.wrong(key, "a string or a list of strings")

    def document(self, key: str) -> dict[str, Any] | None:
        """Read an object that is passed on unchanged."""
        value = self._left.pop(key, None)
        if value is None or isinstance(value, dict):
            return value
        raise self.wrong(key, "an object")

    def object(self, key: str) -> Fields | None:
        """Read an object whose fields are read in turn."""
        value = self.document(key)
        return None if value is None else Fields(value, self.place(key), self.dropped)

    def objects(self, key: str) -> Iterator[Fields]:
        """Read a list of objects whose fields are read in turn; empty if absent."""
        for index, value in enumerate(self.items(key)):
            place = f"{self.place(key)}[{index}]"
            if not isinstance(value, dict):
                raise RequestError(f"'{place}' has to be an object.", param=place)
            yield Fields(value, place, self.dropped)

    def text_or_objects(self, key: str) -> str | Iterator[Fields]:
        """Read a string, or a list of objects whose fields are read in turn; [] if absent."""
        value = self._left.get(key)
        if isinstance(value, str):
            del self._left[key]
            return value
        return self.objects(key)

    def drop(self, *keys: str) -> None:
        """Drop optional fields that are not passed on; docs/dialects.md lists them. Record their
        names, except for values that ask for nothing (false or empty).
        """
        for key in keys:
            if key in self._left and not _asks_for_nothing(self._left.pop(key)):
                self.note(key)

    def ignore(self, *keys: str) -> None:
        """Skip fields that add nothing to those that are read."""
        for key in keys:
            self._left.pop(key, None)

    def note(self, key: str) -> None:
        """Record a field that is not passed on, or not unchanged."""
        name = _INDEX.sub("", self.place(key))
        if name not in self.dropped:
            self.dropped.append(name)

    def end(self) -> None:
        """Raise NotTranslatable for an unread field, unless its value is false or empty."""
        for key, value in self._left.items():
            if not _asks_for_nothing(value):
                raise self.untranslatable(key)

    def wrong(self, key: str, what: str) -> RequestError:
        """Return the error for a field that does not have the required form."""
        place = self.place(key)
        return RequestError(f"'{place}' has to be {what}.", param=place)

    def untranslatable(self, key: str, why: str = "") -> NotTranslatable:
        """Return the error for a field that the backend's dialect cannot express."""
        shown = self.place(key) if _SHOWABLE.fullmatch(key) else self._where or "a field"
        return NotTranslatable(shown, why)


def _asks_for_nothing(value: Any) -> bool:
    return value is False or value in ("", [], {})
