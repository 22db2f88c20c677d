"""Values that environment variables set."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, load_source_text
from gateway.config.load import Loaded
from tests.config.documents import VALID


def loaded(**variables: str) -> Loaded:
    return load_source_text(VALID, name="config.yaml", base=Path(), environ=variables)


def said(**variables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(**variables)
    return [str(one) for one in caught.value.problems]


def test_a_variable_sets_a_value_and_is_told() -> None:
    found = loaded(GATEWAY_SERVER__LISTEN="0.0.0.0:9000", GATEWAY_SERVER__WORKERS="3")
    assert (found.config.server.listen, found.config.server.workers) == ("0.0.0.0:9000", 3)
    assert [one.document for one in found.overrides] == [
        {"variable": "GATEWAY_SERVER__LISTEN", "path": "server.listen"},
        {"variable": "GATEWAY_SERVER__WORKERS", "path": "server.workers"},
    ]


def test_names_and_items_are_written_in_capitals_and_underscores() -> None:
    config = loaded(
        GATEWAY_UPSTREAMS__VLLM__TIMEOUTS__FIRST_BYTE="5s",
        GATEWAY_UPSTREAMS__VLLM__ENDPOINTS__0__URL="http://10.0.0.6",
        GATEWAY_MODELS__LLAMA_3__MODEL="other",
        GATEWAY_ROUTES__OPENAI__PATH="/v2/",
        GATEWAY_ROUTES__0__MODELS="[llama-3]",
    ).config
    assert config.upstreams["vllm"].timeouts.first_byte == 5.0
    assert config.upstreams["vllm"].endpoints[0].url == "http://10.0.0.6"
    assert config.models["llama-3"].model == "other"
    assert config.routes[0].path == "/v2/"


def test_other_variables_and_empty_ones_set_nothing() -> None:
    found = loaded(GATEWAY_SERVER__LISTEN=" ", GATEWAY_PORT="tcp://1.2.3.4:80", SERVER__LISTEN="x")
    assert found.overrides == ()


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("GATEWAY_SEVER__LISTEN", "x", "the configuration has no setting SEVER; did you mean 'S"),
        ("GATEWAY_SERVER__LISTN", "x", "server has no setting LISTN; did you mean 'LISTEN'?"),
        ("GATEWAY_SERVER__LISTEN__X", "x", "server.listen has no setting X"),
        ("GATEWAY_MODELS__LAMA__MODEL", "x", "models has no LAMA: a variable changes what a file"),
        ("GATEWAY_ROUTES__1__PATH", "/", "routes has no 1: write the name or the number"),
        ("GATEWAY_SERVER__LISTEN", "nope", "server.listen: not an address to listen on"),
        ("GATEWAY_SERVER__LISTEN", "[", "the [ that opens here is not closed"),
        ("GATEWAY_SERVER", "x", None),
    ],
)
def test_a_problem_names_the_variable(variable: str, value: str, problem: str | None) -> None:
    if problem is None:
        assert loaded(**{variable: value}).overrides == ()
        return
    found = said(**{variable: value})
    assert found[0].startswith(f"${variable}:1:1: ")
    assert problem in found[0]
    assert len(found) == 1


def test_two_names_that_read_alike_are_told() -> None:
    text = VALID.replace("models:\n", "models:\n  llama_3: {upstream: vllm}\n", 1)
    with pytest.raises(ConfigError, match="may be llama_3 or llama-3"):
        load_source_text(
            text, name="c", base=Path(), environ={"GATEWAY_MODELS__LLAMA_3__MODEL": "x"}
        )
