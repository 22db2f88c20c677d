"""Validity of the credential with which a session or a stream began."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gateway.auth.principal import Principal
from gateway.auth.provider import Provider
from gateway.errors import AuthUnavailable


class CredentialValidity:
    """Validity of a caller's credential, as its provider sees it now."""

    def __init__(self, providers: Mapping[str, Provider], principal: Principal) -> None:
        self._provider = providers.get(principal.provider)
        self._principal = principal

    def holds(self) -> bool:
        """Tell whether the credential is still valid. If the provider cannot tell now, the
        credential stays valid until it expires.
        """
        if self.left_s() <= 0 or self._provider is None:
            return False
        try:
            return self._provider.is_valid(self._principal)
        except AuthUnavailable:
            return True

    def left_s(self) -> float:
        """Return the seconds until the credential expires; infinite if it does not."""
        expires_at = self._principal.expires_at
        return float("inf") if expires_at is None else expires_at - time.time()
