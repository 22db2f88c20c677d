"""Backend settings from the configuration that affect the translated request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal


class ThinkingWord(Enum):
    """Form in which an Anthropic model is asked for reasoning."""

    ADAPTIVE = "adaptive"
    """Effort level; the model decides how many tokens that is."""
    BUDGET = "budget"
    """Number of tokens."""


@dataclass(frozen=True, slots=True)
class TranslationOptions:
    """Translation settings of one upstream."""

    max_tokens: int = 4096
    """Default if the caller names no maximum: Anthropic requires one."""
    thinking: ThinkingWord = ThinkingWord.ADAPTIVE
    continues: Literal["prefill", "continue_final_message"] | None = None
    """Way to ask the backend to continue the assistant's last message."""
    efforts: tuple[str, ...] = ()
    """Effort levels that the backend supports; empty for the default of its dialect."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """Name of the field for OpenAI-shaped backends."""
    base: str | None = None
    """Path before `/chat/completions` and the like; None for the dialect's default."""
    tells_asked: bool = True
    """True if responses carry the model name that the caller requested."""
    refused: frozenset[str] = frozenset()
    """Fields that the backend refuses."""


_BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
"""Reasoning tokens by effort level."""
_LAST_NAMED = "high"
"""Highest effort that a budget is converted to. Few backends know the higher ones."""


def budget_of(effort: str | None) -> int:
    """Return the reasoning tokens for an effort; those for "medium" if it is unknown or None."""
    return _BUDGETS.get(effort or "medium", _BUDGETS["medium"])


def effort_of(budget: int) -> str:
    """Return the highest effort that fits into the budget: at least "minimal", at most "high"."""
    fitting = [word for word, tokens in _BUDGETS.items() if tokens <= budget]
    word = fitting[-1] if fitting else "minimal"
    return _LAST_NAMED if _BUDGETS[word] > _BUDGETS[_LAST_NAMED] else word


EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
"""Effort levels in ascending order."""


def nearest_effort(effort: str, known: tuple[str, ...]) -> str | None:
    """Return the nearest known effort, the lower of two equally near; None if none is known.

    An effort outside `EFFORTS` is returned unchanged.
    """
    if effort in known or effort not in EFFORTS:
        return effort
    ranks = [
        (abs(EFFORTS.index(one) - EFFORTS.index(effort)), EFFORTS.index(one), one)
        for one in known
        if one in EFFORTS
    ]
    return min(ranks)[2] if ranks else None
