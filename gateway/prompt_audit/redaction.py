"""Redaction of audit records: masking by form, and by hooks of the type `redact`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.hooks.redact import Redactor

_CONTENT = ("body", "messages", "text")
_SHORT_CHARS = 2


@dataclass(frozen=True, slots=True)
class RecordRedaction:
    """Redaction of the records of one route."""

    mask: Callable[[str], str]
    """Function that masks keys, tokens, addresses and the operator's patterns."""
    hooks: Sequence[Redactor] = ()

    async def by_hooks(self, record: dict[str, Any]) -> None:
        """Redact every text in request, answer and reason of a record. Raise what a hook raises."""
        known: dict[str, str] = {}
        if "reason" in record:
            record["reason"] = await self._walked(record["reason"], known)
        for name in ("request", "answer"):
            content = record.get(name, {})
            for part in _CONTENT:
                if part in content:
                    content[part] = await self._walked(content[part], known)

    async def _walked(self, value: Any, known: dict[str, str]) -> Any:
        """Return a JSON value whose texts are redacted. `known` are those that were redacted
        before: a record has the same text in several forms.
        """
        if isinstance(value, str):
            if len(value) <= _SHORT_CHARS:
                return value
            if value not in known:
                known[value] = await self._text(value)
            return known[value]
        if isinstance(value, list):
            return [await self._walked(one, known) for one in value]
        if isinstance(value, dict):
            return {name: await self._walked(one, known) for name, one in value.items()}
        return value

    async def _text(self, text: str) -> str:
        for hook in self.hooks:
            text = await hook.redacted(text)
        return text
