"""Credentials that the gateway sends."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import HeaderName


class Credentials(Section):
    """Credential that the gateway sends to the upstream: a bearer token, or a secret in another
    header.
    """

    bearer: Secret | None = Field(None, description="Sent as `Authorization: Bearer …`.")
    header: HeaderName | None = Field(
        None,
        description="Name of another header for the credential, such as x-api-key (Anthropic) "
        "or api-key (Azure).",
    )
    value: Secret | None = Field(None, description="Value of `header`.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.bearer is None) == (self.header is None) or (
            (self.header is None) != (self.value is None)
        ):
            raise ValueError("give either `bearer`, or `header` and `value`")
        return self

    @property
    def field(self) -> tuple[str, str]:
        """Header field with the secret."""
        if self.bearer is not None:
            return "Authorization", f"Bearer {self.bearer.reveal().decode()}"
        assert self.header is not None
        assert self.value is not None
        return self.header, self.value.reveal().decode()
