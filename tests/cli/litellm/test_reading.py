"""What is taken out of a LiteLLM file, and what is noted."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.litellm.findings import Findings
from gateway.cli.litellm.reading import LiteLLMReader


def read(*params: dict[str, Any], **sections: Any) -> Findings:
    """Return the findings in a file with these parameters of models m0, m1, ..."""
    entries = [
        {"model_name": f"m{number}", "litellm_params": one} for number, one in enumerate(params)
    ]
    return LiteLLMReader({"model_list": entries, **sections}).read()


def test_a_key_of_a_public_provider_does_not_go_to_another_host() -> None:
    found = read({"model": "openai/x", "api_base": "http://10.0.0.5:8000/v1"}, {"model": "gpt-5"})
    assert [model.upstream.variable for model in found.models.values()] == ["", "OPENAI_API_KEY"]


def test_a_key_that_stands_in_the_file_gets_a_variable_that_the_file_does_not_use() -> None:
    found = read(
        {"model": "gpt-5", "api_key": "os.environ/OPENAI_API_KEY"},
        {"model": "openai/x", "api_base": "http://10.0.0.5:8000/v1", "api_key": "sk-local"},
    )
    variables = [model.upstream.variable for model in found.models.values()]
    assert variables == ["OPENAI_API_KEY", "LITELLM_KEY_1"]
    assert "sk-local" not in str(found)


def test_what_a_deployment_says_comes_before_what_the_file_says() -> None:
    found = read(
        {"model": "gpt-5", "timeout": 5, "stream_timeout": 2, "max_retries": 0},
        {"model": "o3"},
        router_settings={"timeout": 60, "num_retries": 4},
        litellm_settings={"request_timeout": 600, "num_retries": 1},
    )
    shown = [
        (one.upstream.first_byte, one.upstream.total, one.upstream.attempts)
        for one in found.models.values()
    ]
    assert shown == [("2s", "5s", 0), ("", "60s", 4)]


def test_a_store_without_a_password_is_written_and_another_is_a_variable() -> None:
    plain = {"redis_host": "redis.internal", "redis_port": 6380}
    assert read(router_settings=plain).store == "redis://redis.internal:6380/0"
    secret = read(router_settings={**plain, "redis_password": "canary7f3a"})
    assert secret.store == ""
    assert "canary7f3a" not in str(secret)
    assert read().store is None


@pytest.mark.parametrize("alias", ["${HOME}", "", "a\nb"])
def test_an_alias_that_cannot_stand_in_a_configuration_is_noted(alias: str) -> None:
    found = read({"model": "gpt-5"}, router_settings={"model_group_alias": {alias: "m0"}})
    assert list(found.models) == ["m0"]
    assert len(found.notes) == 1


def test_a_fallback_that_was_not_converted_is_noted() -> None:
    found = read({"model": "gpt-5"}, litellm_settings={"fallbacks": [{"m0": ["m9", "m0"]}]})
    assert found.models["m0"].fallbacks == []
    assert found.notes == [
        ("litellm_settings.fallbacks (m0)", "it names a model that was not converted")
    ]
