"""Targets and hosts: one spelling, or none."""

from __future__ import annotations

import posixpath
import string
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.request_target import host_name, split_target

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
    ("target", "path"),
    [
        ("/v1/models/meta-llama%2FLlama-3", "/v1/models/meta-llama/Llama-3"),
        ("/v1/models/a%2fb%2Fc", "/v1/models/a/b/c"),
        ("/models/gr%C3%B6%C3%9Fe%2F8b", "/models/gr%C3%B6%C3%9Fe/8b"),
        ("/v1/models/a%2F..%2Fb", None),
        ("/v1/models/%2Fb", None),
        ("/v1/models/a%2F%2Fb", None),
        ("/v1/models/a%2F%2e%2e%2Fb", None),
        ("/v1/models/..%2F..%2Fadmin", None),
        ("/v1/models/a%252Fb", None),
        ("/v1/models%2Fa", None),
        ("/v1%2Fx/models/a", None),
    ],
)
def test_a_slash_in_a_models_name_may_be_escaped_and_is_a_slash_to_everybody(
    target: str, path: str | None
) -> None:
    assert split_target(target) == (None if path is None else (path, ""))


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


UNRESERVED = string.ascii_letters + string.digits + "-._~"
SUB_DELIMS = "!$&'()*+,="  # RFC 3986's but ';'


@pytest.mark.parametrize("code", range(256))
def test_a_byte_is_accepted_escaped_only_where_it_has_to_be(code: int) -> None:
    # An escape of one of RFC 3986's reserved characters is another path than the character.
    may = not (code < 0x20 or code == 0x7F or chr(code) in UNRESERVED + "/\\%")
    for escape in (f"%{code:02x}", f"%{code:02X}"):
        assert (split_target(f"/a{escape}b") is not None) is may


@pytest.mark.parametrize("code", range(256))
def test_a_character_is_accepted_as_it_is_only_where_rfc_3986_has_it(code: int) -> None:
    plain = chr(code) in UNRESERVED + SUB_DELIMS + ":@/?"
    assert (split_target(f"/a{chr(code)}b") is not None) is plain


pieces = st.sampled_from(
    [*"/?#;:@!%&=+.~ \\", "a", "..", "%2e", "%2F", "%5c", "%00", "%25", "%20", "%C3%A9", "é", "\0"]
)


@given(st.lists(pieces | st.text(max_size=3), max_size=12).map(lambda parts: "/" + "".join(parts)))
def test_a_second_parser_reads_an_accepted_target_as_we_do(target: str) -> None:
    split = split_target(target)
    if split is None:
        return
    path, query = split
    assert target == (f"{path}?{query}" if "?" in target else path)
    second = urlsplit("http://h.test" + target)
    assert (second.hostname, second.path, second.query, second.fragment) == (
        *("h.test", path, query),
        "",
    )
    # What a server makes of it that decodes and resolves it, in either order.
    decoded = unquote_to_bytes(path)
    once = decoded.rstrip(b"/") or b"/"
    assert posixpath.normpath(decoded) == once
    assert unquote_to_bytes(posixpath.normpath(path)) == once


@given(st.text(max_size=30), st.text("aZ0-_.:[]@/\\# ,", max_size=30))
def test_any_host_is_a_name_that_stays_what_it_is_or_none(junk: str, near: str) -> None:
    for host in (junk, near):
        name = host_name(host)
        if name is None:
            continue
        assert name.isascii()
        assert name == name.lower()
        assert host_name(name) == name
        assert host.lower().startswith(name)


@given(
    st.lists(st.from_regex(r"[a-zA-Z0-9]([a-z0-9_-]{0,6}[a-z0-9])?", fullmatch=True), min_size=1),
    st.none() | st.integers(1, 65535),
)
def test_a_second_parser_reads_the_same_host(labels: list[str], port: int | None) -> None:
    host = ".".join(labels) + ("" if port is None else f":{port}")
    second = urlsplit(f"http://{host}/")
    expected = second.hostname if len(".".join(labels)) <= 253 else None
    assert host_name(host) == expected


@pytest.mark.parametrize("host", ["[..]", "[::g]", "h:99999", "[1.2.3.4]", "[::1%25eth0]"])
def test_a_host_that_cannot_be_connected_to_is_none(host: str) -> None:
    assert host_name(host) is None
