"""URL of an endpoint, taken apart."""

from __future__ import annotations

import ssl

import pytest

from gateway.upstream.address import parse_address


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "base"),
    [
        ("http://models.test", "models.test", 80, "models.test", ""),
        ("http://models.test:8000/", "models.test", 8000, "models.test:8000", ""),
        ("https://models.test/openai/", "models.test", 443, "models.test", "/openai"),
        ("http://[fd00::5]:8000/v1", "fd00::5", 8000, "[fd00::5]:8000", "/v1"),
    ],
)
def test_a_url_has_these_parts(url: str, host: str, port: int, authority: str, base: str) -> None:
    address = parse_address(url, None, None)
    assert (address.host, address.port, address.authority, address.base) == (
        host,
        port,
        authority,
        base,
    )


def test_only_https_has_tls_and_a_server_name() -> None:
    context = ssl.create_default_context()
    secure = parse_address("https://models.test", context, None)
    assert (secure.tls, secure.server_name) == (context, "models.test")
    assert parse_address("https://models.test", context, "other.test").server_name == "other.test"
    plain = parse_address("http://models.test", context, "other.test")
    assert (plain.tls, plain.server_name) == (None, None)


@pytest.mark.parametrize("url", ["http://", "http://user@models.test", "http://models.test:x"])
def test_a_url_that_cannot_be_connected_to_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|Port"):
        parse_address(url, None, None)
