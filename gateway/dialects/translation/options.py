"""What the configuration says of a backend that matters to what is written for it."""

from __future__ import annotations

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
