"""A hook: words that nobody may ask for, and words that are replaced in answers."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field

from gateway.hooks import HookedRequest, Refused, TextWindow


class HouseRules:
    """Refuses requests with a forbidden word; replaces words in answers, streamed or whole."""

    class Options(BaseModel):
        """Checked when the configuration is loaded: `gateway check` finds a mistake."""

        model_config = ConfigDict(extra="forbid")
        forbidden: list[str] = Field(default=[], description="Words that requests may not have.")
        replace: dict[str, str] = Field(default={}, description="Words of answers, and others.")

    window = 40
    """Characters of a streamed answer that are judged together."""

    def __init__(self, options: Options) -> None:
        self._forbidden = _any_of(options.forbidden)
        self._replaced = _any_of(list(options.replace))
        self._words = {word.lower(): other for word, other in options.replace.items()}

    def on_request(self, request: HookedRequest) -> None:
        """Raise Refused for a forbidden word."""
        if self._forbidden.search(request.text):
            raise Refused("a forbidden word", message="We do not talk about this here.")

    def on_window(self, window: TextWindow) -> None:
        """Replace words, and hold the last one back: more of it may follow."""
        for match in self._replaced.finditer(window.text):
            window.replace(*match.span(), self._words[match[0].lower()])
        last = re.search(r"\w*$", window.text)
        if last is not None:
            window.hold(len(last[0]))


def _any_of(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words)) or '(?!)'})\b", re.IGNORECASE)
