"""Keys of limits: who shares a limit, and how the configuration names the keys."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.auth.principal import Principal
from gateway.config.types import HashedValue, Key
from gateway.exchange import Exchange
from gateway.limiting import keys
from gateway.limiting.keys import KeyPart, ip_key, key_part, subject_key, tenant_key


@pytest.mark.parametrize("key", [subject_key, tenant_key, ip_key])
def test_a_caller_without_a_name_shares_the_limit_of_its_ipv6_network(key: KeyPart) -> None:
    first, second, other = (
        key(Exchange("POST", address, trusted_peer=False))
        for address in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert first == second
    assert first != other


def test_the_configuration_takes_each_key_by_its_word() -> None:
    accepts = TypeAdapter(Key).validate_python
    for word in (*keys.KEYS, "claim.org", "claim.realm_access.org"):
        assert accepts(word) == word
        assert key_part(word)(Exchange("POST", "10.0.0.1", trusted_peer=False)) is not None
    for wrong in ("claim.", "claim", "subjects", "", "header.x"):
        with pytest.raises(ValidationError, match=re.escape(keys.EXPECTED)):
            accepts(wrong)


def test_consistent_hashing_takes_only_keys_that_exist() -> None:
    accepts = TypeAdapter(HashedValue).validate_python
    assert set(keys.HASHED) < set(keys.KEYS)
    for word in (*keys.HASHED, "claim.org", "header.x-session", "body.user"):
        assert accepts(word) == word
    for wrong in ("route", "api_key"):
        with pytest.raises(ValidationError, match="not a value"):
            accepts(wrong)


def test_a_claim_is_a_key_of_its_own_apart_from_subjects() -> None:
    caller = Exchange("POST", "10.0.0.1", trusted_peer=False)
    caller.principal = Principal("ann", "corp", claims={"org": "acme", "admin": True})
    assert key_part("claim.org")(caller) == "c:acme"
    assert key_part("claim.admin")(caller) == key_part("claim.none")(caller) == "s:corp/ann"
