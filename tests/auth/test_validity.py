"""Validity of a credential while a session or stream goes on."""

from __future__ import annotations

import time

import pytest

from gateway.auth.api_keys import ApiKeyProvider
from gateway.auth.principal import Principal
from gateway.auth.validity import CredentialValidity
from gateway.errors import AuthUnavailable


class OneAnswer(ApiKeyProvider):
    """Provider that gives one answer, or cannot tell."""

    def __init__(self, is_valid: bool | None) -> None:
        self.answer = is_valid

    def is_valid(self, principal: Principal) -> bool:
        if self.answer is None:
            raise AuthUnavailable("away")
        return self.answer


def validity(is_valid: bool | None, left_s: float | None = None) -> CredentialValidity:
    expires_at = None if left_s is None else time.time() + left_s
    principal = Principal("ann", "corp", expires_at=expires_at)
    return CredentialValidity({"corp": OneAnswer(is_valid)}, principal)


@pytest.mark.parametrize(("is_valid", "holds"), [(True, True), (False, False), (None, True)])
def test_a_credential_holds_unless_its_provider_refuses_it(
    is_valid: bool | None, holds: bool
) -> None:
    assert validity(is_valid).holds() == holds
    assert validity(is_valid).left_s() == float("inf")


def test_a_credential_that_has_expired_does_not_hold() -> None:
    assert not validity(True, -1.0).holds()
    assert validity(True, 3600.0).holds()


def test_a_credential_of_no_provider_does_not_hold() -> None:
    assert not CredentialValidity({}, Principal("ann", "corp")).holds()
