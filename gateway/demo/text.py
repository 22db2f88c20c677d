"""Text of the demo backend, which depends only on the prompt."""

from __future__ import annotations

import hashlib
import math
import random

_OPENINGS = (
    "You asked, and a small program answers:",
    "Here is a reply that is the same every time:",
    "Nobody thought about this, yet it reads well:",
)
_BODY = (
    "a gateway stands between callers and models and passes each word on as it comes "
    "without waiting for the next one so that reading can begin while writing goes on "
    "and when the reader leaves the writer stops because nobody is listening any more"
)
_WORDS = tuple(_BODY.split())
_DEFAULT_TOKENS = 24


def tokens_of(prompt: str) -> list[str]:
    """Return the answer to a prompt: one token a word, each with its leading space."""
    seed = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    dice = random.Random(seed)  # noqa: S311 -- a demo's text, not a secret
    words = dice.choice(_OPENINGS).split()
    start = dice.randrange(len(_WORDS))
    words += [_WORDS[(start + i) % len(_WORDS)] for i in range(_DEFAULT_TOKENS)]
    return [words[0]] + [f" {word}" for word in words[1:]]


def count_tokens(text: str) -> int:
    """Return the token count of a prompt: its words, at least 1."""
    return max(1, len(text.split()))


def embedding(text: str, dimensions: int) -> list[float]:
    """Return a unit vector that depends only on the text."""
    dice = random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())  # noqa: S311
    values = [dice.gauss(0.0, 1.0) for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]
