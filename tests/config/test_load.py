"""Reading a configuration: every problem at once, each with its place and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load, load_text

VALID = """\
upstreams:
  vllm: {endpoints: [{url: "http://10.0.0.5:8000"}]}
models:
  llama-3: {upstream: vllm, model: meta-llama/Llama-3.1-8B-Instruct}
routes:
  - {name: openai, path: /v1/, auth: anonymous, models: [llama-3]}
"""


def problems(text: str) -> list[str]:
    """What is said of a text that is no configuration."""
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    return [str(problem) for problem in caught.value.problems]


def test_a_small_file_is_enough() -> None:
    config = load_text(VALID)
    assert isinstance(config, Config)
    assert config.server.listen == "127.0.0.1:8080"
    assert config.models["llama-3"].model == "meta-llama/Llama-3.1-8B-Instruct"


def test_every_problem_is_said_in_one_run_in_the_order_of_the_file() -> None:
    said = problems("""\
server: {listn: 127.0.0.1:8080, header_timeout: 10 minutes}
upstreams:
  vllm:
    endpoints: [{url: "10.0.0.5:8000", wait: 1}]
models:
  llama-3: {upstream: vlm}
routes:
  - {name: openai, path: v1, auth: [corp], models: [llama-3]}
""")
    assert [line.partition(": ")[0] for line in said] == [
        "config.yaml:1:10",
        "config.yaml:1:33",
        "config.yaml:4:18",
        "config.yaml:4:40",
        "config.yaml:6:13",
        "config.yaml:8:20",
        "config.yaml:8:37",
    ]
    assert said[0].endswith("server.listn: unknown key; did you mean 'listen'?")
    assert "header_timeout: not a duration" in said[1]
    assert "upstreams.vllm.endpoints[0].url: not an endpoint" in said[2]
    assert said[3].endswith("endpoints[0].wait: unknown key; did you mean 'weight'?")
    assert said[4].endswith("there is no upstream 'vlm'; did you mean 'vllm'?")
    assert "routes[0].path: not a path: begin with /" in said[5]
    assert said[6].endswith("routes[0].auth[0]: there is no provider 'corp'")


@pytest.mark.parametrize(
    ("key", "hint"),
    [("timeout", "timeouts"), ("endpoint", "endpoints"), ("credential", "credentials")],
)
def test_an_unknown_key_names_the_nearest_valid_one(key: str, hint: str) -> None:
    (said,) = problems(VALID.replace("{endpoints", f"{{{key}: 1, endpoints"))
    assert said.endswith(f"upstreams.vllm.{key}: unknown key; did you mean '{hint}'?")


def test_a_missing_key_is_named_where_its_section_stands() -> None:
    (said,) = problems(VALID.replace("name: openai, ", ""))
    assert said == "config.yaml:6:5: routes[0].name: is missing"


def test_a_word_that_is_none_of_the_choices_lists_them() -> None:
    (said,) = problems(VALID.replace("{endpoints", "{dialect: gemini, endpoints"))
    assert "has to be one of 'openai', 'anthropic' or 'ollama'" in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("10.0.0.5:8000", "10.0.0.5:8000/?q=1"),
        ("10.0.0.5:8000", "user:secret@10.0.0.5:8000"),
        ("http:", "ftp:"),
        ("/v1/,", "/v1/../x,"),
        ("auth: anonymous", "auth: []"),
    ],
)
def test_values_of_the_wrong_form_are_refused(old: str, new: str) -> None:
    assert len(problems(VALID.replace(old, new))) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("[1, 2]", "valid dictionary"),
        ("a: [", "expected"),
        ("routes: []\nroutes: []\n", "routes: is given twice"),
        ("a: &x [*x]\n", "nested too deeply"),
        ("? [1]\n: 2\n", "key"),
        ("a: !!python/object:os.system x\n", "tag"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused_with_its_line(text: str, reason: str) -> None:
    said = "\n".join(problems(text))
    assert reason in said
    assert said.startswith("config.yaml:")


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "expand to too much" in "\n".join(problems("\n".join(lines)))


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("#" * 2**20 + "\n")
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(file)


def test_bytes_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(file)


def test_what_cannot_be_read_does_not_hide_what_is_wrong_elsewhere() -> None:
    said = problems(VALID.replace("10.0.0.5", "${GATEWAY_TEST_NOT_SET}").replace("/v1/", "v1"))
    assert len(said) == 2
    assert "GATEWAY_TEST_NOT_SET" in said[0]
    assert "not a path" in said[1]


# -- ${ENV} ------------------------------------------------------------------------------------


def test_variables_expand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_HOST", "10.9.9.9")
    config = load_text(VALID.replace("10.0.0.5:8000", "${VLLM_HOST}:${VLLM_PORT:-8001}"))
    assert config.upstreams["vllm"].endpoints[0].url == "http://10.9.9.9:8001"


def test_an_empty_variable_takes_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_HOST", "")
    config = load_text(VALID.replace("10.0.0.5", "${VLLM_HOST:-10.0.0.7}"))
    assert config.upstreams["vllm"].endpoints[0].url == "http://10.0.0.7:8000"


def test_a_variable_that_is_not_set_is_a_problem_with_a_way_out() -> None:
    (said,) = problems(VALID.replace("10.0.0.5", "${GATEWAY_TEST_NOT_SET}"))
    assert "environment variable GATEWAY_TEST_NOT_SET is not set" in said
    assert "${GATEWAY_TEST_NOT_SET:-default}" in said


def test_a_number_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOST", "77")
    assert load_text("server:\n  max_connections: ${MOST}\n" + VALID).server.max_connections == 77
    (said,) = problems("server: {max_connections: '${MOST}'}\n" + VALID)
    assert "valid integer" in said


def test_a_doubled_dollar_is_a_plain_one() -> None:
    config = load_text(VALID.replace("{endpoints", "{headers: {x-a: '$${b}'}, endpoints"))
    assert config.upstreams["vllm"].headers == {"x-a": "${b}"}


def test_a_variable_cannot_smuggle_in_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "x, path: /admin/")
    (said,) = problems(VALID.replace("name: openai", "name: '${NAME}'"))
    assert "not a name" in said
