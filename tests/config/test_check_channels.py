from __future__ import annotations

from typing import Any

import pytest

from gateway.config import load_text
from gateway.config.problems import ConfigError
from tests.channels.clients import config
from tests.support.gateway import config_text
from tests.support.tokens import Auth


def problems(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        load_text(config_text(document, {}))
    return str(raised.value)


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ({"public": True}, "have no tenant"),
        ({"public": True, "per_tenant": False, "follow": ["a"]}, "lets anybody follow"),
        ({"max_event": "2MiB"}, "larger than `history_bytes`"),
        ({"events": "0/minute"}, "at least one"),
        ({"publish_limits": ["none"]}, "no limit 'none'"),
        ({"follow_limits": ["tokens"]}, "counts models or tokens"),
        (
            {"public": True, "per_tenant": False, "follow_limits": ["posts"]},
            "counts by subject, but callers are unknown",
        ),
    ],
)
def test_channels_that_contradict_themselves(
    channels: dict[str, Any], said: str, auth: Auth
) -> None:
    document = config(**channels)
    document["limits"] = {
        "tokens": {"key": "subject", "tokens": "1/day"},
        "posts": {"key": "subject", "requests": "1/day"},
    }
    assert said in problems(document)


def test_an_anonymous_route_has_no_publishers(auth: Auth) -> None:
    document = config()
    document["routes"][0]["auth"] = "anonymous"
    assert "needs scopes" in problems(document)


def test_a_route_may_have_channels_alone(auth: Auth) -> None:
    document = config()
    del document["routes"][0]["upstream"]
    assert load_text(config_text(document, {})).routes[0].channels is not None
