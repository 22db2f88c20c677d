"""A pair of dialects: which paths, which headers, which bodies."""

from __future__ import annotations

import pickle
from dataclasses import replace

import orjson
import pytest

from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.translation import Translation, translates
from gateway.errors import NotTranslatable, UpstreamInvalidResponse
from tests.dialects.translation.wire import CONTEXT, PAIRS

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
BODY = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}


def between(caller: str, backend: str, *replaced: bytes) -> Translation:
    return Translation(caller, backend, TranslationOptions(), frozenset(replaced))


@pytest.mark.parametrize(("caller", "backend"), PAIRS)
def test_a_chat_goes_to_the_chat_of_the_other(caller: str, backend: str) -> None:
    body = {key: value for key, value in BODY.items() if caller != "ollama" or key != "max_tokens"}
    for prefix in ("", "/any/prefix"):
        call = between(caller, backend).call(prefix + PATHS[caller], body, CONTEXT)
        assert call.path.at("") == PATHS[backend]
        assert call.stream is (caller == "ollama")  # which streams unless it is told not to
        assert (call.reader is not None) is call.stream


@pytest.mark.parametrize(
    ("caller", "backend", "path"),
    [
        ("openai", "anthropic", "/v1/responses"),
        ("openai", "anthropic", "/v1/embeddings"),
        ("openai", "ollama", "/v1/completions"),
        ("openai", "ollama", "/v1/audio/speech"),
        ("anthropic", "openai", "/v1/messages/count_tokens"),
        ("anthropic", "openai", "/v1/messages/batches"),
        ("ollama", "openai", "/api/show"),
        ("ollama", "anthropic", "/api/embed"),
    ],
)
def test_what_has_no_counterpart_is_refused(caller: str, backend: str, path: str) -> None:
    with pytest.raises(NotTranslatable):
        between(caller, backend).call(path, BODY, CONTEXT)
    assert not translates(caller, backend, path)


def test_what_is_asked_can_come_from_another_process() -> None:
    translation = between("openai", "ollama")
    call = pickle.loads(pickle.dumps(translation)).ask  # noqa: S301 -- our own
    document = {"model": "m", "input": "x", "encoding_format": "base64"}
    for path, body in (
        ("/v1/chat/completions", BODY | {"stream": True}),
        ("/embeddings", document),
    ):
        asked = pickle.loads(pickle.dumps(call(path, body)))  # noqa: S301 -- our own
        here = translation.call(path, body, CONTEXT)
        there = translation.answering(asked, CONTEXT)
        assert (there.path, there.body, there.stream) == (here.path, here.body, here.stream)
        assert (there.reader is None) is (here.reader is None)


def test_a_header_that_is_configured_is_not_written_twice() -> None:
    assert b"anthropic-version" in between("openai", "anthropic").header_lines(None)
    replaced = between("openai", "anthropic", b"anthropic-version")
    assert b"anthropic-version" not in replaced.header_lines(None)
    assert b"anthropic-version" not in between("openai", "ollama").header_lines(None)


def test_a_callers_own_credential_is_shown_as_the_backend_knows_it() -> None:
    assert b"x-api-key: k\r\n" in between("openai", "anthropic").header_lines(b"k")
    assert b"Authorization: Bearer k\r\n" in between("anthropic", "openai").header_lines(b"k")


def test_embeddings_carry_the_name_that_was_asked_for() -> None:
    ollama = orjson.dumps({"model": "e", "embeddings": [[0.5]], "prompt_eval_count": 7})
    openai = orjson.dumps(
        {"model": "e", "data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 7}}
    )
    for caller, backend, path, answer in (
        ("openai", "ollama", "/v1/embeddings", ollama),
        ("ollama", "openai", "/api/embed", openai),
    ):
        call = between(caller, backend).call(path, {"model": "e", "input": "a"}, CONTEXT)
        assert orjson.loads(call.whole(answer)[0])["model"] == "e"
        mine = replace(CONTEXT, model="mine")
        call = between(caller, backend).call(path, {"model": "e", "input": "a"}, mine)
        assert orjson.loads(call.whole(answer)[0])["model"] == "mine"
        for body in (b"oops", b"[]", b"{}"):
            with pytest.raises(UpstreamInvalidResponse):
                call.whole(body)
