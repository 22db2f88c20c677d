"""What the configuration says of a backend that matters to what is written for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal


class ThinkingWord(Enum):
    """How a model of Anthropic's is asked to think."""

    ADAPTIVE = "adaptive"
    """With an effort; it decides itself how much that is."""
    BUDGET = "budget"
    """With a number of tokens."""


@dataclass(frozen=True, slots=True)
class TranslationOptions:
    """For one upstream."""

    max_tokens: int = 4096
    """For Anthropic, which needs a number, where the caller named none."""
    thinking: ThinkingWord = ThinkingWord.ADAPTIVE
    continues: Literal["prefill", "continue_final_message"] | None = None
    """How it is asked to go on with what stands in the assistant's last message."""
    efforts: tuple[str, ...] = ()
    """Those that it knows; empty: those that all backends of its dialect know."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """For OpenAI-shaped backends."""
    base: str | None = None
    """The path before `/chat/completions` and the like; None: the dialect's own."""
    tells_asked: bool = True
    """Whether answers carry the model name that the caller asked for."""
    refused: frozenset[str] = frozenset()
    """Fields that the backend does not take."""


_BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
"""Tokens of thinking to an effort."""
_LAST_NAMED = "high"
"""Efforts above are not told from a budget: few backends know them."""


def budget_of(effort: str | None) -> int:
    """Tokens of thinking to an effort."""
    return _BUDGETS.get(effort or "medium", _BUDGETS["medium"])


def effort_of(budget: int) -> str:
    """The effort whose tokens are in the budget."""
    fitting = [word for word, tokens in _BUDGETS.items() if tokens <= budget]
    word = fitting[-1] if fitting else "minimal"
    return _LAST_NAMED if _BUDGETS[word] > _BUDGETS[_LAST_NAMED] else word


EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
"""From little to much."""


def nearest_effort(effort: str, known: tuple[str, ...]) -> str | None:
    """The known effort that is nearest, the lower of two; an unknown word is as it is. None if
    none is known.
    """
    if effort in known or effort not in EFFORTS:
        return effort
    ranks = [
        (abs(EFFORTS.index(one) - EFFORTS.index(effort)), EFFORTS.index(one), one)
        for one in known
        if one in EFFORTS
    ]
    return min(ranks)[2] if ranks else None
