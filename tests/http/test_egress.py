"""Proxies: their URLs, and the hosts that are reached without them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.egress import BadProxy, Proxy, from_environment


def test_a_credential_in_the_url_is_read_and_not_shown() -> None:
    proxy = Proxy.parse("http://us%40er:p%3Ass@proxy.internal:8080")
    assert (proxy.scheme, proxy.host, proxy.port) == ("http", "proxy.internal", 8080)
    assert (proxy.username, proxy.password) == ("us@er", "p:ss")
    assert "p:ss" not in repr(proxy)


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://p", 3128), ("socks5://p", 1080), ("p:99", 99), ("socks5h://[::1]:5", 5)],
)
def test_a_url_without_a_port_or_scheme_means_the_usual_one(url: str, port: int) -> None:
    assert Proxy.parse(url).port == port


@pytest.mark.parametrize(
    "url", ["ftp://p:1", "http://", "http://p:99999", "https://p:1", "http://us%3Aer:pw@p"]
)
def test_a_url_that_is_no_proxy_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(BadProxy) as refused:
        Proxy.parse(url)
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("exception", "host", "serves"),
    [
        ("internal", "internal", False),
        ("internal", "a.internal", False),
        ("internal", "notinternal", True),
        (".internal", "a.b.internal", False),
        ("api.internal", "internal", True),
        ("API.Internal", "api.internal", False),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.0.0.1", "10.0.0.1", False),
        ("::1", "::1", False),
        ("fd00::/8", "fd00::5", False),
        ("*", "anything.example", False),
        ("*.internal", "a.internal", False),
        ("3com.example", "api.3com.example", False),
        ("[::1]", "::1", False),
        ("::1", "0:0:0:0:0:0:0:1", False),
    ],
)
def test_exceptions_are_names_domains_addresses_and_networks(
    exception: str, host: str, serves: bool
) -> None:
    assert Proxy.parse("http://p:1", direct=[exception]).serves(host) is serves


@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=40))
def test_any_exception_and_any_host_can_be_compared(exceptions: list[str], host: str) -> None:
    assert Proxy.parse("http://p:1", direct=exceptions).serves(host) in (True, False)


def test_the_environment_names_a_proxy_for_each_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert from_environment("https") is None
    monkeypatch.setenv("ALL_PROXY", "socks5://all:1080")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:3128")
    monkeypatch.setenv("NO_PROXY", "localhost, .internal")
    secure, plain = from_environment("https"), from_environment("http")
    assert secure is not None
    assert plain is not None
    assert (secure.host, plain.host) == ("secure", "all")
    assert not secure.serves("a.internal")


def test_what_connections_need_is_imported_before_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = ("python_socks.async_.asyncio", "gateway.http.tunnel_connector")
    for name in needed:
        monkeypatch.delitem(sys.modules, name, raising=False)
    Proxy.parse("socks5://127.0.0.1:1080").prepare()
    assert set(needed) <= set(sys.modules)
