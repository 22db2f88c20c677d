"""`gateway init --from`: the file of a LiteLLM proxy becomes a configuration of the gateway."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.litellm.convert import NotLiteLlm, convert
from tests.support.commands import Said, call

FOLDER = Path(__file__).with_name("files")
FILES = sorted(FOLDER.glob("*.yaml"), key=lambda file: file.name)


def converted(name: str, *, anonymous: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the text that one of the files becomes, and its document."""
    text = convert((FOLDER / name).read_text(), name, anonymous=anonymous).text
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return text, document


def models(*entries: dict[str, Any], **sections: Any) -> str:
    """Return a LiteLLM file with these parameters of models m0, m1, ..."""
    listed = [
        {"model_name": f"m{number}", "litellm_params": entry}
        for number, entry in enumerate(entries)
    ]
    return yaml.safe_dump({"model_list": listed, **sections})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("options", [(), ("--anonymous",)])
def test_a_converted_file_passes_the_check(
    file: Path,
    options: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "config.yaml"
    said = call(capsys, "init", "--from", str(file), "--output", str(output), *options)
    assert (said.code, said.err) == (0, "")
    for variable in re.findall(r"^  export (\w+)=", said.out, re.MULTILINE):
        monkeypatch.setenv(variable, value_of(variable))
    checked = call(capsys, "check", str(output))
    assert checked.code == 0
    # It rightly warns that anybody may spend the credentials.
    assert (checked.err == "") == (not options)


def value_of(variable: str) -> str:
    """Return what a user would set."""
    if variable == "REDIS_URL":
        return "redis://localhost:6379/0"
    return "http://10.0.0.7:8000" if variable.endswith("_BASE") else "k" * 20


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_secret_of_the_file_is_copied(file: Path) -> None:
    text, _ = converted(file.name)
    assert "canary7f3a" not in text


def test_deployments_that_differ_only_in_their_address_are_endpoints_of_one_upstream() -> None:
    _, document = converted("local.yaml")
    assert document["upstreams"]["hosted-vllm"] == {
        "dialect": "openai",
        "endpoints": [
            {"url": "http://10.0.0.5:8000", "weight": 2},
            {"url": "http://10.0.0.6:8000"},
        ],
        "model_name": "asked",
        "balance": "random",
    }
    llama = {
        "upstream": "hosted-vllm",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "admission": {"concurrency": 128},
    }
    assert document["models"]["llama-3.1-8b"] == document["models"]["gpt-3.5-turbo"] == llama


def test_entries_with_other_keys_are_deployments_before_the_routers_fallbacks() -> None:
    _, document = converted("azure.yaml")
    model = document["models"]["gpt-4o"]
    assert model["deployments"] == [
        {"upstream": "azure", "model": "gpt-4o-eu", "requests": "6/minute"},
        {"upstream": "azure-2", "model": "gpt-4o-ca", "requests": "6/minute"},
    ]
    assert model["fallbacks"] == ["gpt-4o-openai", "claude"]
    assert document["upstreams"]["azure-2"]["endpoints"] == [
        {"url": "https://my-ca.openai.azure.com/openai"}
    ]


def test_order_weight_and_strategy_choose_among_deployments() -> None:
    source = models(
        {"model": "openai/gpt-5", "weight": 3, "max_parallel_requests": 4},
        {"model": "anthropic/claude-sonnet-4-5", "order": 2},
        router_settings={"routing_strategy": "latency-based-routing"},
    ).replace("m1", "m0")
    document = yaml.safe_load(convert(source, "f", anonymous=True).text)
    assert document["models"]["m0"] == {
        "deployments": [
            {"upstream": "openai", "model": "gpt-5", "weight": 3, "concurrency": 4},
            {"upstream": "anthropic", "model": "claude-sonnet-4-5", "priority": 1},
        ],
        "balance": "ttft",
    }
    assert document["upstreams"]["anthropic"]["endpoints"] == [{"url": "https://api.anthropic.com"}]


def test_prices_are_for_a_million_tokens() -> None:
    _, document = converted("azure.yaml")
    assert document["models"]["gpt-4o-openai"]["price"] == {"input": 2.5, "output": 10.0}


def test_context_and_dropped_parameters_of_a_model_are_its_rules() -> None:
    entry = {
        "model_name": "m",
        "litellm_params": {
            "model": "openai/gpt-4o",
            "additional_drop_params": ["logit_bias", "user"],
        },
        "model_info": {"max_input_tokens": 128_000, "max_output_tokens": 16_000},
    }
    text = convert(yaml.safe_dump({"model_list": [entry]}), "file", anonymous=False).text
    model = yaml.safe_load(text)["models"]["m"]
    assert model["context_window"] == 144_000
    assert model["parameters"] == {"drop": ["logit_bias", "user"]}
    entry["litellm_params"] = {"model": "gpt-4o", "additional_drop_params": ["tools[*].strict"]}
    text = convert(yaml.safe_dump({"model_list": [entry]}), "file", anonymous=False).text
    assert "parameters" not in yaml.safe_load(text)["models"]["m"]
    assert "see models.NAME.parameters.drop" in text


def test_timeouts_and_retries_of_the_file_are_those_of_every_upstream() -> None:
    _, document = converted("azure.yaml")
    for name, upstream in document["upstreams"].items():
        assert upstream["timeouts"] == {"total": "600s"}
        if name in ("azure", "azure-2"):
            # Of deployments, the next one is asked instead.
            assert "retries" not in upstream
            continue
        again = {"attempts": 2, "post": True, "statuses": [500, 502, 503, 504]}
        assert upstream["retries"] == again
    _, document = converted("local.yaml")
    timeouts = {"first_byte": "90s", "total": "300s"}
    assert document["upstreams"]["ollama-chat"]["timeouts"] == timeouts


def test_an_api_that_is_not_below_v1_gets_a_route_that_takes_the_path_off() -> None:
    _, document = converted("local.yaml")
    [route] = [route for route in document["routes"] if route.get("strip")]
    assert (route["path"], route["models"]) == ("/openai-compatible/v1/", ["glm"])
    assert "glm" not in document["routes"][0]["models"]


def test_rates_that_all_models_share_become_a_limit() -> None:
    _, document = converted("platform.yaml")
    amounts = {"requests": "300/minute", "tokens": "100000/minute"}
    assert document["limits"] == {"per-model": {"key": "model", **amounts}}
    assert all(route["limits"] == ["per-model"] for route in document["routes"])
    other = [{"model": "gpt-5", "rpm": 10}, {"model": "o3", "rpm": 20}]
    text = convert(models(*other), "f", anonymous=True).text
    assert "limits" not in yaml.safe_load(text)
    assert "# - model_list[].litellm_params.rpm: " in text


def test_everything_without_a_counterpart_is_said() -> None:
    text, _ = converted("platform.yaml")
    told = set(re.findall(r"^# - (\S+): ", text, re.MULTILINE))
    assert told >= {
        "model_list[2]",
        "model_list[1].litellm_params.extra_headers.Authorization",
        "litellm_settings.cache",
        "litellm_settings.callbacks",
        "router_settings.routing_strategy",
        "router_settings.allowed_fails",
        "general_settings.alerting",
        "environment_variables",
        "guardrails",
    }


@pytest.mark.parametrize(
    ("params", "url", "key"),
    [
        ({"model": "gpt-4o"}, "https://api.openai.com", "OPENAI_API_KEY"),
        ({"model": "claude-sonnet-4-5"}, "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
        ({"model": "groq/x/y"}, "https://api.groq.com/openai", "GROQ_API_KEY"),
        ({"model": "azure/d"}, "${AZURE_API_BASE}/openai", "AZURE_API_KEY"),
        ({"model": "openai/x", "api_base": "http://h:1/v1/"}, "http://h:1", None),
        ({"model": "openai/x", "api_base": "http://h:1"}, "http://h:1", None),
        ({"model": "x", "api_base": "http://h:1/v1"}, "http://h:1", None),
        ({"model": "openai/x", "api_base": "os.environ/BASE"}, "${BASE}", None),
        ({"model": "ollama/x"}, "http://localhost:11434", None),
        (
            {"model": "x", "custom_llm_provider": "mistral", "api_key": "os.environ/K"},
            "https://api.mistral.ai",
            "K",
        ),
        (
            {"model": "openai/x", "api_base": "https://api.openai.com/v1"},
            "https://api.openai.com",
            "OPENAI_API_KEY",
        ),
    ],
)
def test_the_prefix_and_api_base_say_where_a_model_is(
    params: dict[str, Any], url: str, key: str | None
) -> None:
    document = yaml.safe_load(convert(models(params), "f", anonymous=True).text)
    [upstream] = document["upstreams"].values()
    assert upstream["endpoints"] == [{"url": url}]
    credentials = upstream.get("credentials", {})
    secret = credentials.get("bearer") or credentials.get("value") or {}
    assert secret.get("env") == key
    assert document["routes"][0]["models"] == ["m0"]


def test_rates_of_the_endpoints_of_a_model_are_added_up() -> None:
    bases = [f"http://10.0.0.{number}:8000" for number in (5, 6)]
    entries = [{"model": "openai/a", "api_base": base, "rpm": 10} for base in bases]
    source = models(*entries).replace("m1", "m0")
    document = yaml.safe_load(convert(source, "f", anonymous=True).text)
    assert document["limits"] == {"per-model": {"key": "model", "requests": "20/minute"}}


def test_rates_of_deployments_are_what_their_providers_grant() -> None:
    entries = [{"model": f"openai/{name}", "rpm": 10, "tpm": 900} for name in ("a", "b")]
    source = models(*entries).replace("m1", "m0")
    document = yaml.safe_load(convert(source, "f", anonymous=True).text)
    assert document["models"]["m0"]["deployments"] == [
        {"upstream": "openai", "model": name, "requests": "10/minute", "tokens": "900/minute"}
        for name in ("a", "b")
    ]
    assert "limits" not in document


def test_backends_whose_api_is_not_below_v1_are_fallbacks_with_names_of_their_own() -> None:
    base = "http://10.0.0.5/api/paas/v4"
    source = models(*({"model": f"openai/{name}", "api_base": base} for name in "abc"))
    source = source.replace("m1", "m0").replace("m2", "m0-2")
    text = convert(source, "f", anonymous=True).text
    document = yaml.safe_load(text)
    assert {name: one["model"] for name, one in document["models"].items()} == {
        "m0": "a",
        "m0-3": "b",
        "m0-2": "c",
    }
    assert "# - model_list (m0): its backends differ" in text


def test_models_may_be_fallbacks_of_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "litellm.yaml"
    rules = {"fallbacks": [{"m0": ["m1"]}, {"m1": ["m0"]}]}
    source.write_text(models({"model": "gpt-5"}, {"model": "o3"}, router_settings=rules))
    said = call(capsys, "init", "--from", str(source), "--output", "-")
    assert said.code == 0
    assert yaml.safe_load(said.out)["models"]["m1"]["fallbacks"] == ["m0"]


def test_every_key_that_stands_in_the_file_gets_a_variable_of_its_own() -> None:
    entries = [{"model": "openai/x", "api_key": key} for key in ("sk-a", "sk-b", "sk-a")]
    document = yaml.safe_load(convert(models(*entries), "f", anonymous=True).text)
    found = {one["credentials"]["bearer"]["env"] for one in document["upstreams"].values()}
    assert found == {"LITELLM_KEY_1", "LITELLM_KEY_2"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("a: [", "not valid YAML, line 1"),
        ("[]", "it has no `model_list`"),
        ("upstreams: {}", "it has no `model_list`"),
        ("model_list: []", "`model_list` is empty"),
        (models({"model": "gemini-pro"}), "its model names no provider"),
        (models({"model": "bedrock/x"}), "no dialect of provider 'bedrock'"),
        (models({"model": "azure/x", "api_base": "nowhere"}), "`api_base` is no http"),
        ("model_list: [1, {model_name: 2}, {litellm_params: []}]", "it lacks `model_name`"),
    ],
)
def test_what_is_no_litellm_file_is_refused_with_the_reason(source: str, reason: str) -> None:
    with pytest.raises(NotLiteLlm, match=re.escape(reason)):
        convert(source, "f", anonymous=False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
PARAMETERS = st.dictionaries(
    st.sampled_from(
        [
            *("model", "api_base", "api_key", "rpm", "timeout", "weight", "order", "organization"),
            *("extra_headers", "max_parallel_requests", "input_cost_per_token", "num_retries"),
        ]
    ),
    VALUES,
)
SETTINGS = st.dictionaries(
    st.sampled_from(
        ["fallbacks", "default_fallbacks", "model_group_alias", "redis_host", "num_retries"]
    ),
    VALUES,
)


@settings(max_examples=100)
@given(params=PARAMETERS, router=SETTINGS)
def test_values_of_any_kind_are_converted_or_noted(
    params: dict[str, Any], router: dict[str, Any]
) -> None:
    source = models({"model": "gpt-5"}, params, router_settings=router)
    assert yaml.safe_load(convert(source, "f", anonymous=False).text)["models"]["m0"]


def test_a_fault_of_form_is_told_without_the_line_which_may_hold_a_key() -> None:
    with pytest.raises(NotLiteLlm) as refused:
        convert("model_list:\n  - api_key: 'sk-canary7f3a\n: [", "f", anonymous=False)
    assert "canary7f3a" not in str(refused.value)


def test_a_file_that_is_refused_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "litellm.yaml", tmp_path / "config.yaml"
    source.write_text("model_list: []")
    said: Said = call(capsys, "init", "--from", str(source), "--output", str(output))
    assert said.code == 2
    assert not output.exists()
    upstream = ("--upstream", "http://127.0.0.1:1")
    both = call(capsys, "init", "--from", str(source), "--output", str(output), *upstream)
    assert both.code == 2
    assert "--from" in both.err
