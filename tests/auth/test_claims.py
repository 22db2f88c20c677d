"""From claims to a principal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.claims import ClaimMap, claim, principal_of
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected


def principal(claims: dict[str, Any], **names: Any) -> Principal:
    return principal_of({"sub": "ann", **claims}, ClaimMap(**names), "corp")


@pytest.mark.parametrize(
    ("claims", "name", "expected"),
    [
        ({"org": "acme"}, "org", "acme"),
        ({"https://acme.test/org": "acme"}, "https://acme.test/org", "acme"),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ["a"]),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a": "text"}, "a.b", None),
        ({}, "a", None),
    ],
)
def test_a_claim_is_found_by_its_name_or_by_the_way_inside(
    claims: dict[str, Any], name: str, expected: object
) -> None:
    assert claim(claims, name) == expected


def test_scopes_are_words_or_lists_all_together() -> None:
    found = principal({"scope": "a b", "scp": ["c"], "roles": ["d", 5]})
    assert found.scopes == {"a", "b", "c", "d"}


def test_groups_are_a_list() -> None:
    assert principal({"groups": ["x", "y"]}, groups="groups").groups == ("x", "y")


@pytest.mark.parametrize("value", ["domain admins", ["domain admins"]])
def test_a_group_with_a_space_is_one_group(value: object) -> None:
    assert principal({"groups": value}, groups="groups").groups == ("domain admins",)


@given(st.lists(st.text(st.characters(codec="latin-1", exclude_categories=["C", "Z"]), min_size=1)))
def test_a_group_with_commas_is_one_group_for_the_upstream(groups: list[str]) -> None:
    sent = principal({"groups": groups}, headers={"X-A": "groups"}).headers.decode()
    if groups:
        items = sent.removeprefix("X-A: ").removesuffix("\r\n").split(",")
        assert [item.replace("%2C", ",").replace("%25", "%") for item in items] == groups


def test_a_group_alone_with_commas_is_one_group_for_the_upstream() -> None:
    names = {"groups": "groups", "headers": {"X-A": "groups", "X-B": "name", "X-C": "scope"}}
    claims = {"groups": "x,admin", "name": "Doe, Jane", "scope": "a,b"}
    sent = principal(claims, **names).headers
    assert sent == b"X-A: x%2Cadmin\r\nX-B: Doe, Jane\r\nX-C: a%2Cb\r\n"


def test_a_claim_with_commas_is_no_two_where_one_is_required_or_a_scope() -> None:
    with pytest.raises(Rejected):
        principal({"groups": ["x,admin"]}, required={"groups": ("admin",)})
    assert principal({"roles": ["x,admin"], "scope": "a,b"}).scopes == {"x,admin", "a,b"}


@pytest.mark.parametrize(
    ("claims", "required", "accepted"),
    [
        ({"email_verified": True}, {"email_verified": (True,)}, True),
        ({"email_verified": 1}, {"email_verified": (True,)}, False),
        ({"email_verified": "true"}, {"email_verified": (True,)}, False),
        ({"hd": "acme.test"}, {"hd": ("acme.test", "acme.example")}, True),
        ({"hd": "evil.test"}, {"hd": ("acme.test",)}, False),
        ({"groups": ["a", "llm"]}, {"groups": ("llm",)}, True),
        ({}, {"hd": ("acme.test",)}, False),
        ({"hd": "anything"}, {"hd": ()}, True),
        ({"hd": None}, {"hd": ()}, False),
    ],
)
def test_required_claims_have_to_be_as_they_are_required(
    claims: dict[str, Any], required: dict[str, Any], accepted: bool
) -> None:
    if accepted:
        assert principal(claims, required=required).subject == "ann"
    else:
        with pytest.raises(Rejected, match="is not as required"):
            principal(claims, required=required)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("ann@test", b"X-A: ann@test\r\n"),
        (7, b"X-A: 7\r\n"),
        (True, b"X-A: true\r\n"),
        (["a", "b"], b"X-A: a,b\r\n"),
        (["a,b", "c%"], b"X-A: a%2Cb,c%25\r\n"),
        ("Zoë", "X-A: Zoë\r\n".encode()),
        ("a\r\nX-Admin: yes", b""),
        ("a\0b", b""),
        ("", b""),
        (["a", "\n"], b""),
        ([], b""),
        ({"a": 1}, b""),
        (None, b""),
        (1.5, b""),
    ],
)
def test_a_header_is_filled_from_a_claim_that_can_stand_in_one(value: object, line: bytes) -> None:
    assert principal({"x": value}, headers={"X-A": "x"}).headers == line


@given(st.text())
def test_no_claim_adds_a_line_of_its_own(value: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    assert principal({"x": value}, headers={"X-A": "x"}).headers.count(b"\n") <= 1
