"""Hooks, and routes with hooks, that contradict themselves are found."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import load_text
from gateway.config.problems import ConfigError
from tests.support.gateway import config_text, simple_config

WEBHOOK = {"type": "webhook", "url": "https://guard.test/judge"}


def document(hook: dict[str, Any], **route: Any) -> dict[str, Any]:
    made = simple_config("http://127.0.0.1:1", **{"hooks": ["guard"], **route})
    return {**made, "hooks": {"guard": hook}}


@pytest.mark.parametrize(
    ("hook", "route", "said"),
    [
        ({**WEBHOOK, "model": "m"}, {}, "belongs to `format: openai`"),
        ({**WEBHOOK, "request": "none", "answer": False}, {}, "judges nothing"),
        (WEBHOOK, {"websocket": True}, "would let messages pass by the hooks"),
        (WEBHOOK, {"hooks": ["guard", "guard"]}, "is given twice"),
        (WEBHOOK, {"hooks": ["gard"]}, "there is no hook 'gard'"),
        ({"type": "redact", "replacement": 'a"b'}, {}, "replacement"),
        ({"type": "other"}, {}, "hooks.guard"),
    ],
)
def test_hooks_that_cannot_work(hook: dict[str, Any], route: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(config_text(document(hook, **route), {}))
    assert said in str(caught.value)


def test_a_sound_webhook_is_accepted() -> None:
    loaded = load_text(config_text(document(WEBHOOK), {}))
    assert loaded.routes[0].hooks == ("guard",)
