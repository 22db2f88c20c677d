"""Mistakes in the file are told in plain words, not in pydantic's."""

from __future__ import annotations

import pytest

from tests.config.documents import VALID, problems


def test_a_word_that_is_none_of_the_choices_lists_them() -> None:
    (said,) = problems(VALID.replace("{endpoints", "{dialect: gemini, endpoints"))
    assert "has to be one of 'openai', 'anthropic' or 'ollama'" in said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("websocket: {origin: [x]}", "websocket.origin: unknown key; did you mean 'origins'?"),
        ("websocket: {max_message: 16}", "websocket.max_message: not a size"),
        ("websocket: 5", "websocket: has to be true or false"),
        ("resume: true", "resume: has to be a mapping, such as {on_disconnect: ...}"),
        ("resume: {grace: 10}", "resume.grace: not a duration"),
        ("batch: {max_delay: 5m}", "batch.max_delay: has to be at most 2s"),
        ("heartbeat: 0s", "heartbeat: has to be"),
        ("compress: gzip", "compress: has to be a list, such as [a, b]"),
        ("compress: [deflate]", "compress[0]: has to be one of 'zstd', 'br' or 'gzip'"),
        ("heartbeats: 5s", "heartbeats: unknown key; did you mean 'heartbeat'?"),
        ("traces: {sample: 10%}", "traces.sample: has to be a number"),
        ("websocket: {messages: 100}", "websocket.messages: not a rate: write a number per"),
    ],
)
def test_a_mistake_is_told_in_one_line_of_plain_words(written: str, said: str) -> None:
    (line,) = problems(VALID.replace("auth:", f"{written}, auth:"))
    assert line.startswith("config.yaml:6:")
    assert f"routes[0].{said}" in line


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("postgres://x", "url: not a store"),
        ("{envv: REDIS_URL}", "url.envv: unknown key; did you mean 'env'?"),
        ("{env: GATEWAY_NOT_SET}", "url: environment variable GATEWAY_NOT_SET is not set"),
    ],
)
def test_where_a_word_or_a_mapping_may_stand_only_what_was_meant_is_judged(
    written: str, said: str
) -> None:
    (line,) = problems(f"store: {{url: {written}}}\n" + VALID)
    assert f"store.{said}" in line


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("limits: {l: {key: subjct, requests: 5/minute}}", "limits.l.key: not a key: write"),
        ("limits: {l: {key: ip, requests: 5}}", "limits.l.requests: not a rate: write"),
        ("auth: {c: {type: jwtt}}", "auth.c: type has to be one of 'jwt', 'api_key', 'ticket'"),
        ("auth: {c: {issuer: i}}", "auth.c: type is missing"),
    ],
)
def test_a_mistake_in_another_section_is_told_as_plainly(written: str, said: str) -> None:
    (line,) = problems(f"{written}\n" + VALID)
    assert said in line
