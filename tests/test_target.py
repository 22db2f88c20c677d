"""Targets and hosts: one spelling, or none."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.target import host_name, split_target

segment = st.text("ab%2F5Ec./\\;~!é", max_size=8)


@given(st.lists(segment, max_size=5).map(lambda parts: "/" + "/".join(parts)))
def test_an_accepted_path_means_one_thing_however_it_is_read(path: str) -> None:
    split = split_target(path)
    if split is None:
        return
    assert split == (path, "")
    decoded = unquote(path)
    assert decoded.count("/") == path.count("/"), "no slash may appear by decoding"
    assert "\\" not in decoded
    assert "\0" not in decoded
    assert unquote(decoded) == decoded or "%" not in decoded
    assert not {".", ".."} & set(decoded.split("/"))
    assert "//" not in decoded


@pytest.mark.parametrize(
    "target",
    [
        *("", "v1/x", "*", "/v1/../x", "/v1/./x", "/v1/..", "/a//b", "/%2e%2e/x", "/%2E/x"),
        *("/a%2fb", "/a%5cb", "/a\\b", "/a%00", "/a%0a", "/%61", "/a%", "/a%g0", "/a b", "/é"),
        *("/a;b", "/a%25", "/a%252e", "/a#b", "/a?b#c", "/a?b c", "//a", "/%7e", "/%2D"),
    ],
)
def test_a_second_spelling_is_refused(target: str) -> None:
    assert split_target(target) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", ("/", "")),
        ("/v1/chat/completions", ("/v1/chat/completions", "")),
        ("/v1/models/meta-llama:8b@x", ("/v1/models/meta-llama:8b@x", "")),
        ("/v1/?a=%2e%2e/", ("/v1/", "a=%2e%2e/")),
        ("/a%20b/%C3%A9", ("/a%20b/%C3%A9", "")),
        ("/a/...", ("/a/...", "")),
    ],
)
def test_plain_targets_are_split_as_they_are(target: str, expected: tuple[str, str]) -> None:
    assert split_target(target) == expected


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("LLM.Example.com:8443", "llm.example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("example.com.", "example.com"),
    ],
)
def test_a_host_is_its_name_in_lower_case(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    "host",
    [
        *("", "a/#", "a b", "a@b", "a:", "a:b", "a:123456", "-a", "a..b", "[::1", "a,b", "a\tb"),
        *("x" * 254, "é.test", "a?b"),
    ],
)
def test_what_is_no_host_is_none(host: str) -> None:
    assert host_name(host) is None
