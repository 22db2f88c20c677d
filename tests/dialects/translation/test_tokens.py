"""Token usage in the caller's dialect."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dialects.translation.pieces import (
    Tokens,
)
from tests.dialects.translation.events import chunk
from tests.dialects.translation.wire import (
    heard,
)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 0}, Tokens(5, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Tokens(0, 0)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 10,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Tokens(5, 5, reasoning=3),
        ),
    ],
)
def test_the_caller_is_told_the_usage_that_is_billed(
    usage: dict[str, Any], expected: Tokens
) -> None:
    last = b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage})
    stream = chunk({"content": "Hi"}) + chunk({}, "stop") + last + b"data: [DONE]\n\n"
    assert heard("openai", stream).tokens == expected
