"""Claims of a person: groups and the shown name, whatever the issuer sends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.oidc.person_claims import groups_of, shown_name

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("claims", "name", "groups"),
    [
        ({"groups": ["a", "b"]}, "groups", {"a", "b"}),
        ({"groups": "a b"}, "groups", {"a b"}),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", {"a"}),
        ({"https://example.com/groups": ["a"]}, "https://example.com/groups", {"a"}),
        ({"email": "a@example.com"}, "email", {"a@example.com"}),
        ({"email": "a@example.com", "email_verified": False}, "email", set()),
        ({}, "groups", set()),
    ],
)
def test_groups_are_those_of_the_claim(claims: dict[str, Any], name: str, groups: set[str]) -> None:
    assert groups_of(claims, name) == groups


@given(JSON)
def test_any_claim_has_groups_of_text_or_none(value: Any) -> None:
    assert all(isinstance(one, str) for one in groups_of({"groups": value}, "groups"))


def test_the_shown_name_falls_back_to_the_subject() -> None:
    assert shown_name({"sub": "1", "email": "a@example.com"}, "email") == "a@example.com"
    unverified = {"sub": "1", "email": "a@example.com", "email_verified": False}
    assert shown_name(unverified, "email") == "1"
    assert shown_name({"sub": "1", "preferred_username": "ann"}, "email") == "ann"
    assert shown_name({"sub": "1", "email": "a\nb"}, "email") == "1"
    assert len(shown_name({"sub": "1", "email": "a" * 999}, "email")) == 200
