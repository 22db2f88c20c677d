"""Conversations in no dialect: an estimate of their tokens."""

from __future__ import annotations

from gateway.dialects.translation.conversation import estimated_tokens
from tests.dialects.translation.bodies import PNG, chat, history, read


def test_the_tokens_of_a_request_are_guessed_by_its_text_and_its_pictures() -> None:
    small = estimated_tokens(read("openai", chat({"role": "user", "content": "x" * 400})))
    assert small == 100
    url = f"data:image/png;base64,{PNG + 'A' * 100_000}"
    picture = {"type": "image_url", "image_url": {"url": url}}
    seen = estimated_tokens(read("openai", chat({"role": "user", "content": [picture]})))
    assert 100 < seen < 5000
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 400}}
    assert estimated_tokens(read("openai", chat(tools=[tool]))) >= 100
    assert estimated_tokens(read("openai", history('{"a":"%s"}' % ("x" * 400)))) > 100
