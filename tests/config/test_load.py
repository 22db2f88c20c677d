"""Reading a configuration: every problem at once, each with its place and a way out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, ConfigError, load, load_text
from tests.config.documents import VALID, problems


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
        ("[1, 2]", "has to be a mapping"),
        ("a: [", "is not closed"),
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


def test_a_key_given_twice_is_placed_at_its_second_appearance() -> None:
    (said,) = problems(VALID + "server:\n  drain: 1s\n  keepalive: 2s\n  drain: 3s\n")
    assert said == "config.yaml:10:3: server.drain: is given twice"


def test_a_route_key_given_twice_is_found_too() -> None:
    (said,) = problems(VALID.replace("auth: anonymous", "auth: anonymous, auth: anonymous"))
    assert said == "config.yaml:6:49: routes[0].auth: is given twice"


@pytest.mark.parametrize("text", ["server: {listen: a:${P}}", "server:\n  proxies: [a, ${P:-b}]"])
def test_a_variable_that_braces_end_is_told_to_be_quoted(text: str) -> None:
    (said,) = problems(text)
    assert "write what holds ${...} in quotes" in said


def test_an_alias_stands_for_what_its_anchor_holds() -> None:
    config = load_text("""\
upstreams:
  a: {endpoints: &two [{url: "http://10.0.0.5"}, {url: "http://10.0.0.6"}]}
  b: {dialect: ollama, endpoints: *two}
routes: [{name: a, path: /, auth: anonymous, upstream: a}]
""")
    urls = [endpoint.url for endpoint in config.upstreams["b"].endpoints]
    assert urls == ["http://10.0.0.5", "http://10.0.0.6"]


def test_what_is_wrong_in_an_alias_is_said_of_each_use() -> None:
    said = problems("""\
upstreams:
  a: {endpoints: &wrong [{url: 10.0.0.5}]}
  b: {endpoints: *wrong}
routes: [{name: a, path: /, auth: anonymous, upstream: a}]
""")
    assert [line.split()[1] for line in said] == [
        "upstreams.a.endpoints[0].url:",
        "upstreams.b.endpoints[0].url:",
    ]


def test_a_merge_key_is_refused_where_it_stands() -> None:
    said = problems("a: &a {drain: 1s}\nserver:\n  <<: *a\n" + VALID)
    assert "config.yaml:3:3: server: a key has to be plain text" in said


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_list_of_problems(text: str) -> None:
    with contextlib.suppress(ConfigError):
        load_text(text)


PIECES = ["{", "}", "[", "]", ": ", ", ", "- ", "\n", "\n  ", "&a ", "*a", "!!str ", "'", '"', "${"]
WORDS = [
    "server",
    "routes",
    "upstreams",
    "auth",
    "type",
    "jwt",
    "0",
    "null",
    "~",
    "1e9",
    "30s",
    "/",
]


@given(st.lists(st.sampled_from(PIECES + WORDS), max_size=25))
def test_any_yaml_is_a_configuration_or_a_list_of_problems(pieces: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        load_text("".join(pieces))


KEYS = ["type", "name", "url", "endpoints", "file", "x", "[key]", "0"]
VALUES = st.recursive(
    st.sampled_from([None, True, 0, -1, 1.5, "", "x", "30s", "10MiB", "http://[::1", "/", "${X"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=4,
)


@given(st.data())
def test_a_value_of_the_wrong_kind_anywhere_is_said_with_its_place(data: st.DataObject) -> None:
    document: Any = yaml.safe_load(VALID)
    spot = document
    while True:
        steps = range(len(spot)) if isinstance(spot, list) else sorted(spot)
        step = data.draw(st.sampled_from(steps), label="step")
        inner = spot[step]
        if not inner or not isinstance(inner, (dict, list)) or data.draw(st.booleans()):
            break
        spot = inner
    spot[step] = data.draw(VALUES, label="value")
    try:
        load_text(yaml.safe_dump(document))
    except ConfigError as exc:
        lines = yaml.safe_dump(document).splitlines()
        for problem in exc.problems:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


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


@pytest.mark.parametrize("written", ["${}", "${1}", "${A B}", "${A", "${A-b}", "${A:=b}"])
def test_a_variable_of_another_form_is_told_the_right_one(written: str) -> None:
    (said,) = problems(VALID.replace("10.0.0.5", written))
    assert said.startswith("config.yaml:2:28: upstreams.vllm.endpoints[0].url: `${` needs NAME}")


def test_an_empty_default_is_a_default() -> None:
    config = load_text(VALID.replace("10.0.0.5", "10.0.0.5${GATEWAY_TEST_NOT_SET:-}"))
    assert config.upstreams["vllm"].endpoints[0].url == "http://10.0.0.5:8000"


def test_what_a_variable_holds_is_not_expanded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "${INNER}")
    monkeypatch.setenv("INNER", "reached")
    config = load_text(VALID.replace("{endpoints", "{headers: {x-a: '${OUTER}'}, endpoints"))
    assert config.upstreams["vllm"].headers == {"x-a": "${INNER}"}


def test_every_missing_variable_is_said() -> None:
    said = problems(VALID.replace("10.0.0.5:8000", "${GATEWAY_TEST_A}:${GATEWAY_TEST_B}"))
    assert ["GATEWAY_TEST_A is" in said[0], "GATEWAY_TEST_B is" in said[1]] == [True, True]
    assert len(said) == 2


def test_a_truth_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDE", "false")
    config = load_text("server:\n  hide_server: ${HIDE}\n" + VALID)
    assert config.server.hide_server is False


def test_a_number_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOST", "77")
    assert load_text("server:\n  max_connections: ${MOST}\n" + VALID).server.max_connections == 77
    (said,) = problems("server: {max_connections: '${MOST}'}\n" + VALID)
    assert "has to be a whole number" in said


def test_a_doubled_dollar_is_a_plain_one() -> None:
    config = load_text(VALID.replace("{endpoints", "{headers: {x-a: '$${b}'}, endpoints"))
    assert config.upstreams["vllm"].headers == {"x-a": "${b}"}


def test_a_variable_cannot_smuggle_in_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "x, path: /admin/")
    (said,) = problems(VALID.replace("name: openai", "name: '${NAME}'"))
    assert "not a name" in said


@pytest.mark.parametrize(
    "changed",
    [
        VALID + "telemetry: !!int\n",
        VALID.replace("auth: anonymous", "auth: anonymous, body: 0s"),
        "server: {header_timeout: 0s}\n" + VALID,
        "server: {drain: '\u0663s'}\n" + VALID,
        "server: {drain: " + "9" * 400 + "s}\n" + VALID,
        "limits: {a: {key: ip, requests: " + "9" * 5000 + "/second}}\n" + VALID,
        "auth: {a: {type: jwt, issuer: i, audience: '', jwks: 'https://x'}}\n" + VALID,
        "auth: {a: {type: jwt, issuer: i, audience: a, jwks: 'https://[::1'}}\n" + VALID,
        'upstreams: {a: {endpoints: [{url: "https://x"}], tls: {ca: "a\\0b"}}}\n'
        "routes: [{name: a, path: /, auth: anonymous, upstream: a}]",
    ],
)
def test_odd_values_are_problems_and_not_tracebacks(changed: str) -> None:
    assert problems(changed)


def test_a_problem_is_one_line_whatever_the_key_holds() -> None:
    (said,) = problems(VALID + '"a\\nb\\e[31m": 1\n')
    assert said.isprintable()


def test_a_model_may_be_called_key() -> None:
    said = problems(VALID.replace("llama-3: {upstream: vllm", "'[key]': {upstrea: vllm"))
    assert "models.[key].upstrea: unknown key" in said[0]
