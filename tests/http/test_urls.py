"""URLs of endpoints and of keys."""

from __future__ import annotations

import pytest

from gateway.http.urls import endpoint_fault, is_host_name, is_trustworthy


@pytest.mark.parametrize(
    ("url", "trustworthy"),
    [
        ("https://issuer.test/keys", True),
        ("http://localhost:8080/keys", True),
        ("http://127.0.0.1/keys", True),
        ("http://[::1]:1/keys", True),
        ("http://issuer.test/keys", False),
        ("http://localhost.issuer.test/keys", False),
        ("http://127.0.0.2/keys", False),
        ("ftp://localhost/keys", False),
        ("https:///keys", False),
        ("https://[::1/keys", False),
        ("", False),
    ],
)
def test_keys_are_fetched_by_tls_or_from_this_machine(url: str, trustworthy: bool) -> None:
    assert is_trustworthy(url) is trustworthy


@pytest.mark.parametrize("name", ["a", "a.b", "xn--bcher-kva.test", "a-1.b2"])
def test_a_host_name_is_labels_of_letters_digits_and_hyphens(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "-a", "a-", "A", "a_b", "a\n"])
def test_anything_else_is_no_host_name(name: str) -> None:
    assert not is_host_name(name)


@pytest.mark.parametrize(
    "url", ["http://a", "https://a.b:8443/base/v1", "http://10.0.0.1:80", "http://[::1]:8000"]
)
def test_an_endpoint_has_scheme_host_and_at_most_port_and_path(url: str) -> None:
    assert endpoint_fault(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://a b", "characters"),
        ("http://ä", "characters"),
        ("ftp://a", "not an endpoint"),
        ("a:80", "not an endpoint"),
        ("http://", "not an endpoint"),
        ("http://a/?x", "more than scheme"),
        ("http://a/#x", "more than scheme"),
        ("http://me@a", "more than scheme"),
        ("http://a:0", "port"),
        ("http://a:65536", "ort"),
        ("http://-a", "host name"),
        ("http://[v1.x]", "host name"),
        ("http://:80", "host name"),
    ],
)
def test_what_no_endpoint_can_have_is_told(url: str, fault: str) -> None:
    assert fault in (endpoint_fault(url) or "")
