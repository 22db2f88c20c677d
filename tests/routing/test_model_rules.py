"""Rules of a model: which parameters a request keeps, and whether it fits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects import DIALECTS
from gateway.errors import (
    ContextLengthExceeded,
    ModalityNotSupported,
    RequestError,
    UnsupportedParameter,
)
from gateway.json_body import JsonBody, read
from gateway.routing.model_rules import ModelRules, ParameterRules

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PATHS = {"openai": CHAT, "anthropic": "/v1/messages", "ollama": "/api/chat"}


def body(**fields: Any) -> JsonBody:
    return read(json.dumps({"model": "m", **fields}).encode())


def chat(content: Any) -> JsonBody:
    return body(messages=[{"role": "user", "content": content}])


def sent(
    fields: dict[str, Any], *, path: str | None = None, dialect: str = "openai", **rules: Any
) -> dict[str, Any]:
    """Return the fields that a model with these rules gets."""
    asked = body(**fields)
    edits = ModelRules(DIALECTS[dialect], ParameterRules(**rules)).edits(
        asked, path or PATHS[dialect]
    )
    made = asked.edited(edits)
    assert json.loads(made.raw) == made.document
    return {name: value for name, value in made.document.items() if name != "model"}


def rules(window: int | None = None, *kinds: str, **parameters: Any) -> ModelRules:
    return ModelRules(
        DIALECTS["openai"],
        ParameterRules(**parameters),
        context_window=window,
        modalities=frozenset(kinds) if kinds else None,
    )


def misfit(model: ModelRules, asked: JsonBody, *, surely: bool = False) -> RequestError | None:
    return model.misfit(asked, CHAT, surely=surely)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_a_cap_lowers_what_is_above_it_by_whichever_name(name: str) -> None:
    assert sent({name: 9000}, cap={"max_tokens": 4096.0}) == {name: 4096}
    assert sent({name: 9}, cap={"max_tokens": 4096.0}) == {name: 9}
    assert sent({name: None}, cap={"max_tokens": 4096.0}) == {name: None}
    assert sent({}, cap={"max_tokens": 4096.0}) == {}


@pytest.mark.parametrize("value", ["9000", True, [1], float(10**9)])
def test_a_cap_replaces_what_a_backend_might_read_as_more(value: object) -> None:
    assert sent({"max_tokens": value}, cap={"max_tokens": 4096.0}) == {"max_tokens": 4096}


def test_a_cap_holds_for_keys_in_another_case() -> None:
    asked = read(b'{"model":"m","Max_Tokens":9,"max_tokens":1}')
    made = asked.edited(rules(cap={"max_tokens": 5.0}).edits(asked, CHAT))
    assert made.raw == b'{"model":"m","Max_Tokens":5,"max_tokens":1}'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","max_tokens":9,"max_tokens":1}',
        b'{"model":"m","max_tokens":9,"max\\u005ftokens":1}',
        b'{"model":"m","options":{"num_predict":9},"options":{"seed":1}}',
        b'{"model":"m","Options":{"num_predict":9,"num_predict":1}}',
    ],
)
def test_a_parameter_given_twice_cannot_pass_the_rules(raw: bytes) -> None:
    asked, model = read(raw), rules(cap={"max_tokens": 5.0})
    with pytest.raises(RequestError, match="more than once"):
        model.edits(asked, CHAT)
    assert model.refuses(asked)


@pytest.mark.parametrize(
    ("name", "value"), [("max_tokens", -1), ("n_predict", -2), ("top_k", 0), ("top_k", -1)]
)
def test_a_cap_replaces_a_value_that_stands_for_no_limit(name: str, value: int) -> None:
    cap = {"max_tokens": 100.0, "top_k": 100.0, "presence_penalty": 1.0}
    asked = {name: value, "presence_penalty": -1}
    assert sent(asked, cap=cap) == {name: 100, "presence_penalty": -1}


def test_parameters_in_the_options_of_ollama_are_found() -> None:
    options = {"num_predict": 900, "temperature": 2, "seed": 1}
    asked = {"options": options}
    caps = {"max_tokens": 100.0, "temperature": 1.0}
    assert sent(asked, dialect="ollama", cap=caps, drop=frozenset({"seed"})) == {
        "options": {"num_predict": 100, "temperature": 1}
    }


def test_dropped_tools_take_with_them_what_a_backend_refuses_without() -> None:
    asked = {"tools": [{}], "functions": [{}], "tool_choice": "auto", "seed": 1}
    assert sent(asked, drop=frozenset({"tools"})) == {"seed": 1}


@pytest.mark.parametrize(
    ("dialect", "path", "then"),
    [
        ("openai", CHAT, {"temperature": 0.2, "max_completion_tokens": 9, "top_k": 5}),
        ("openai", RESPONSES, {"temperature": 0.2, "max_output_tokens": 9, "top_k": 5}),
        ("openai", "/v1/completions", {"temperature": 0.2, "max_tokens": 9, "top_k": 5}),
        ("openai", "/v1/embeddings", {}),
        ("openai", "/v1/other", {}),
        ("anthropic", "/v1/messages", {"temperature": 0.2, "max_tokens": 9, "top_k": 5}),
        (
            "ollama",
            "/api/chat",
            {"options": {"temperature": 0.2, "num_predict": 9, "top_k": 5}},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["set", "default"])
def test_what_is_missing_is_added_where_the_endpoint_has_it(
    kind: str, dialect: str, path: str, then: dict[str, Any]
) -> None:
    values = {"temperature": 0.2, "max_tokens": 9, "top_k": 5}
    assert sent({}, dialect=dialect, path=path, **{kind: values}) == then


def test_the_upstream_says_by_which_name_the_longest_answer_is_added() -> None:
    model = ModelRules(
        DIALECTS["openai"], ParameterRules(set={"max_tokens": 9}), max_tokens_field="max_tokens"
    )
    assert dict(model.edits(body(), CHAT)) == {"max_tokens": 9}
    assert dict(model.edits(body(), RESPONSES)) == {"max_output_tokens": 9}


def test_what_is_set_replaces_and_what_is_default_does_not() -> None:
    asked = {"temperature": 1, "max_tokens": 5}
    values = {"temperature": 0.2, "max_tokens": 9}
    assert sent(asked, set=values) == values
    assert sent(asked, default=values) == asked
    assert sent({"temperature": None}, default={"temperature": 0.2}) == {"temperature": 0.2}


@pytest.mark.parametrize("value", [[{"type": "function"}], "auto", 5])
def test_a_refused_parameter_is_named(value: object) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        sent({"tools": value}, refuse=frozenset({"tools"}))
    assert refused.value.param == "tools"
    assert rules(refuse=frozenset({"tools"})).refuses(body(tools=value))


@pytest.mark.parametrize("fields", [{"seed": 0}, {"temperature": 0.0}, {"n": 2}])
def test_a_refused_parameter_is_refused_whatever_its_number(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter):
        sent(fields, refuse=frozenset(fields))


@pytest.mark.parametrize("fields", [{}, {"tools": None}, {"tools": []}, {"n": 1}])
def test_a_refused_parameter_that_is_not_used_passes(fields: dict[str, Any]) -> None:
    assert sent(fields, refuse=frozenset({"tools", "n"})) == fields


def test_refused_tools_are_found_in_a_body_that_was_pruned() -> None:
    long = read(json.dumps({"tools": [{"type": "function", "x": "y" * 9000}]}).encode()).pruned()
    assert long.document == {"tools": []}
    assert rules(refuse=frozenset({"tools"})).refuses(long)


def test_a_prompt_within_the_window_fits() -> None:
    assert misfit(rules(1000), chat("a" * 3800)) is None


def test_a_prompt_that_is_probably_too_long_does_not_fit_but_is_not_surely_too_long() -> None:
    error = misfit(rules(1000), chat("word " * 1000))
    assert isinstance(error, ContextLengthExceeded)
    assert "maximum context length is 1000" in error.message
    assert misfit(rules(1000), chat("word " * 1000), surely=True) is None


@pytest.mark.parametrize("text", ["word " * 2000, "слово " * 2000, "言葉 " * 3000])
def test_a_prompt_that_is_far_too_long_does_surely_not_fit(text: str) -> None:
    assert misfit(rules(1000), chat(text), surely=True) is not None


def test_escapes_do_not_make_a_prompt_longer() -> None:
    text = "слово " * 900  # 5400 characters, 900 to 2000 tokens
    escaped = read(json.dumps({"messages": [{"role": "user", "content": text}]}).encode())
    assert len(escaped.raw) > 27_000
    assert misfit(rules(1000), escaped, surely=True) is None


def test_the_longest_answer_counts_as_the_rules_change_it() -> None:
    asked = body(messages=[], max_tokens=1000)
    assert misfit(rules(1000), asked, surely=True) is not None
    assert misfit(rules(1000, cap={"max_tokens": 500.0}), asked) is None
    assert misfit(rules(1000, set={"max_tokens": 1000}), body(messages=[])) is not None


def test_each_of_several_answers_has_the_window_for_itself() -> None:
    assert misfit(rules(1000), body(messages=[], max_tokens=600, n=4)) is None


def test_the_window_is_not_checked_where_nothing_is_generated_or_prompts_are_many() -> None:
    long = body(input="a" * 90_000, prompt=["a" * 90_000])
    assert rules(1000).misfit(long, "/v1/embeddings") is None
    assert rules(1000).misfit(long, "/v1/completions") is None


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
TEXT = {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (chat([TEXT, IMAGE]), "image"),
        (chat([AUDIO]), "audio"),
        (chat([{"type": "image", "source": {"type": "url", "url": "u"}}]), "image"),
        (body(messages=[{"role": "user", "content": "a", "images": ["aGk="]}]), "image"),
        (body(input=[{"role": "user", "content": [{"type": "input_image"}]}]), "image"),
        (chat([{"type": "document", "source": {"type": "base64", "data": ""}}]), "file"),
        (chat([{"type": "video_url", "video_url": {"url": "u"}}]), "video"),
    ],
)
def test_a_model_without_a_modality_does_not_take_it(asked: JsonBody, kind: str) -> None:
    error = misfit(rules(None, "text"), asked)
    assert isinstance(error, ModalityNotSupported)
    assert f"'{kind}'" in error.message
    assert misfit(rules(None, "text", kind), asked) is None
    assert misfit(rules(None), asked) is None
    assert asked.pruned().modalities == {kind}


def test_text_in_a_document_is_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Hello"}
    assert misfit(rules(None, "text"), chat([TEXT, {"type": "document", "source": source}])) is None
