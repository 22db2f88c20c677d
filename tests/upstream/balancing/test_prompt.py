"""Where the prompt of a body begins, and where its first user message ends."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.balancing.prompt import find_prompt

messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "tool"]),
            "content": st.text()
            | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})),
        }
    ),
    max_size=4,
)


def opening(body: bytes) -> bytes:
    """From the prompt's beginning to the end of the first user message."""
    prompt = find_prompt(body)
    assert prompt is not None
    return body[prompt.start : prompt.opening]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"messages":[{"role":"user","content":"a"},{"role":"x"}]}', b'"a"}'),
        (b'{"model":"messages","messages" : [ {"role" :\n"user","content":"a"} ]}', b'"a"}'),
        (b'{"messages":[{"content":"a","role":"user"},{"role":"user"}]}', b'"user"}'),
        (b'{"messages":[{"role":"user","content":[{"text":"]}"}]}]}', b'"]}"}]}'),
        (b'{"messages":[{"role":"user","content":"\\"}"}]}', b'"\\"}"}'),
        (b'{"messages":[{"role":"system","content":"s"},{"role":"user","x":1}]}', b'"x":1}'),
        (b'{"system":"s","messages":[{"role":"user","content":"a"}]}', b'"a"}'),
        (b'{"input":[{"role":"user","content":"a"}],"stream":true}', b'"a"}'),
    ],
)
def test_the_opening_ends_with_the_first_user_message(body: bytes, expected: bytes) -> None:
    assert opening(body).endswith(expected)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":"a","stream":true}',
        b'{"messages":[{"role":"system","content":"\\"role\\":\\"user\\""}]}',
        b'{"input":["a","b"]}',
    ],
)
def test_without_a_user_message_all_is_the_opening(body: bytes) -> None:
    assert opening(body) == body[body.index(b":") + 1 :]


def test_a_parameter_of_a_tool_is_not_the_prompt() -> None:
    tools = [{"parameters": {"properties": {"input": {"type": "string"}, "prompt": {}}}}]
    body = json.dumps({"tools": tools, "messages": []}).encode()
    assert opening(body) == b"[]}"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"model":"a"}', b'{"prompt":{"id":"a"}}', b'{"input":1}', b"\xff" * 99]
)
def test_a_body_may_have_no_prompt(body: bytes) -> None:
    assert find_prompt(body) is None


@given(
    st.text(),
    messages,
    messages,
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_every_turn_has_the_same_opening(
    text: str, before: list[object], behind: list[object], ascii_only: bool, indent: int | None
) -> None:
    first = [*before, {"role": "user", "content": text}]
    found = [
        json.dumps(
            {"model": "m", "messages": turn, "stream": True}, ensure_ascii=ascii_only, indent=indent
        ).encode("utf-8", "surrogatepass")
        for turn in (first, [*first, *behind], [*first, *behind, *before])
    ]
    assert len({opening(body) for body in found}) == 1


def test_a_long_first_message_is_told_by_its_beginning() -> None:
    body = b'{"messages":[{"role":"user","content":"%b' % (b"x" * 300_000)
    assert 16_000 < len(opening(body)) < 17_000
    assert opening(body) == opening(body + b'"},{"role":"assistant"}]}')


@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [b'"messages"', b'"role"', b'"user"', b":", b"[", b"{", b"}", b"]", b'"', b"\\", b"x"]
        )
    ).map(b"".join)
)
def test_any_bytes_have_a_prompt_within_them_or_none(body: bytes) -> None:
    prompt = find_prompt(body)
    if prompt is not None:
        assert 0 < prompt.start <= prompt.opening <= len(body)


@pytest.mark.parametrize(
    "piece",
    [b'"', b'\\"', b"{", b"[]", b'"role"', b'"role":"user"', b'"input"', b'"input" :', b"\\", b" "],
)
@pytest.mark.parametrize(
    "start", [b"", b'{"messages":["', b'{"messages":[{"role":"user",', b'{"input":["role"']
)
def test_no_bytes_take_long(start: bytes, piece: bytes) -> None:
    body = start + piece * (2**20 // len(piece))
    began = time.process_time()
    find_prompt(body)
    assert time.process_time() - began < 0.2
