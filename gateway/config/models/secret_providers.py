"""Section `secret_providers`: plug-ins that read secrets from Vault, a KMS or another store."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.config.models.section import Section
from gateway.config.types import DottedName


class SecretProviderSettings(Section):
    """Plug-in that reads secrets, for `{provider: NAME, name: ...}`; see operations.md."""

    use: DottedName = Field(description="Dotted name of the class, such as acme.vault.Vault.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options for the class, which checks them itself."
    )
