"""References of a backend's, as its client has to read them."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.locations import Exposure, public_location

PUBLIC = "https://gw.example.com"
BACKEND = "10.0.0.5:8000"
SIBLING = "vllm.internal"


def seen(path: str = "/team/v1/items", prefix: str = "", base: str = "") -> Exposure:
    return Exposure(
        PUBLIC, path, prefix, base, (BACKEND, SIBLING, "[fd00::5]:8000", "localhost:9000")
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://10.0.0.5:8000/x?q=1#f", "https://gw.example.com/x?q=1#f"),
        ("https://10.0.0.5:8000/x", "https://gw.example.com/x"),
        ("HTTP://10.0.0.5:8000", "https://gw.example.com/"),
        ("//10.0.0.5:8000/x", "https://gw.example.com/x"),
        ("http://[FD00::5]:8000/x", "https://gw.example.com/x"),
        ("http://VLLM.internal/x", "https://gw.example.com/x"),
        ("http://vllm.internal:80/x", "https://gw.example.com/x"),
        ("https://vllm.internal:443/x", "https://gw.example.com/x"),
        ("http://10.0.0.5:8000?q", "https://gw.example.com/?q"),
        ("http://user:secret@10.0.0.5:8000/x", "https://gw.example.com/x"),
        ("http://10.0.0.5:08000/x", "https://gw.example.com/x"),
        ("http://vllm.internal./x", "https://gw.example.com/x"),
        ("///10.0.0.5:8000/x", "https://gw.example.com/x"),
        ("/\\10.0.0.5:8000/x", "https://gw.example.com/x"),
        ("http:\\\\10.0.0.5:8000\\x", "https://gw.example.com/x"),
        ("http://127.0.0.1:9000/x", "https://gw.example.com/x"),
        ("http://[::1]:9000/x", "https://gw.example.com/x"),
    ],
)
def test_what_points_at_the_backend_points_at_the_gateway(value: str, expected: str) -> None:
    assert public_location(value, seen()) == expected


@pytest.mark.parametrize(
    "value",
    [
        "https://elsewhere.example/x",
        "http://10.0.0.5:8001/x",
        "http://10.0.0.5/x",
        "http://vllm.internal:8080/x",
        "http://vllm.internal.example/x",
        "ftp://10.0.0.5:8000/x",
        "//elsewhere.example/x",
        "mailto:a@b",
        "/x",
        "x",
        "../x",
        "?q",
        "#f",
        "",
        "http://[broken/x",
        "\\\\elsewhere.example\\x",
        "///elsewhere.example/x",
        "http://10.0.0.5:8000@elsewhere.example/x",
    ],
)
def test_what_points_elsewhere_stays(value: str) -> None:
    assert public_location(value, seen()) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://10.0.0.5:8000/base/v1/other", "https://gw.example.com/team/v1/other"),
        ("http://10.0.0.5:8000/base", "https://gw.example.com/team/"),
        ("http://10.0.0.5:8000/outside", "https://gw.example.com/team/outside"),
        ("http://10.0.0.5:8000/team/v1/other", "https://gw.example.com/team/v1/other"),
        ("/base/v1/other?q=1", "/team/v1/other?q=1"),
        ("/team/v1/other", "/team/v1/other"),
        ("other", "other"),
        ("../v2/other", "../v2/other"),
        ("../../../top", "/team/top"),
        ("?page=2", "?page=2"),
        ("https://elsewhere.example/base/x", "https://elsewhere.example/base/x"),
    ],
)
def test_prefix_and_base_are_exchanged(value: str, expected: str) -> None:
    assert public_location(value, seen(prefix="/team", base="/base")) == expected


def test_a_relative_reference_that_climbs_above_a_stripped_prefix_stays_below_it() -> None:
    one = seen(path="/team/a", prefix="/team")
    assert public_location("../../x", one) == "/team/x"
    assert public_location("x", one) == "x"


_segments = st.lists(st.sampled_from(["a", "b", "..", "."]), max_size=5).map("/".join)
_prefixes = st.sampled_from(["", "/team", "/p/q"])


@given(_segments, _prefixes, st.sampled_from(["", "/base"]), st.booleans())
def test_a_client_gets_where_the_backend_meant(
    reference: str, prefix: str, base: str, rooted: bool
) -> None:
    value = base + "/" + reference if rooted else reference
    one = Exposure(PUBLIC, f"{prefix}/v1/items", prefix, base, (BACKEND,))
    meant = urlsplit(urljoin(f"http://{BACKEND}{base}/v1/items", value)).path
    followed = urlsplit(urljoin(f"{PUBLIC}{prefix}/v1/items", public_location(value, one))).path
    below = meant.removeprefix(base) if (meant + "/").startswith(base + "/") else meant
    assert (followed or "/") == prefix + (below or "/")


@given(st.text(), st.sampled_from([BACKEND, SIBLING]), _prefixes)
def test_any_text_is_read_and_the_backends_address_is_never_passed_on(
    rest: str, authority: str, prefix: str
) -> None:
    one = seen(prefix=prefix)
    public_location(rest, one)
    assert public_location(f"http://{authority}/{rest}", one).startswith(PUBLIC + prefix)
