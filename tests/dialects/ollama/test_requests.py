"""Requests in Ollama's dialect."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.ollama.requests import read_generate
from gateway.dialects.translation.conversation import Conversation, Message, Role, Text, Thinking
from gateway.errors import NotTranslatable
from tests.dialects.translation.bodies import OPTIONS
from tests.dialects.translation.wire import SIDES


@pytest.mark.parametrize(
    ("key", "value"),
    [("suffix", "x"), ("template", "x"), ("raw", True), ("context", [1]), ("prompt", "")],
)
def test_what_only_a_runner_can_do_with_a_prompt_is_refused(key: str, value: Any) -> None:
    with pytest.raises(NotTranslatable) as caught:
        read_generate({"model": "m", "prompt": "x", key: value})
    assert caught.value.param == key


def test_thoughts_of_earlier_turns_go_to_ollama_and_to_nobody_else() -> None:
    turn = Message(Role.ASSISTANT, [Thinking("Hm."), Text("Yes.")])
    asked = Conversation("m", [turn, Message(Role.USER, [Text("?")])])
    assert SIDES["ollama"].write(asked, OPTIONS)["messages"][0]["thinking"] == "Hm."
    for name in ("openai", "anthropic"):
        assert SIDES[name].write(asked, OPTIONS)["messages"][0]["content"] == "Yes."
