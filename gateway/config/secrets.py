"""Secrets in the configuration: `{env: NAME}`, `{file: PATH}`, `{command: [...]}` or
`{provider: NAME, name: ...}`.

A `Secret` is always printed as `***`. Its value is read when the configuration is loaded, so a
missing secret is an error of the configuration, and not of the first request. A value that changes
later is applied like a reload (`gateway/admin/reload.py`).
"""

from __future__ import annotations

import hmac
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializationInfo,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from gateway.config.secret_sources import SecretSources
from gateway.config.units import Duration

FINGERPRINT = "fingerprint"
"""Name of a random key in the context of `model_dump`. Values are then replaced by their HMAC, to
compare two configurations. The result must not be shown.
"""


class Secret(BaseModel):
    """Secret value that is kept outside the configuration file. It has one of `env`, `file`,
    `command` and `provider`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    env: str | None = Field(None, min_length=1, description="Environment variable that holds it.")
    file: str | None = Field(
        None,
        min_length=1,
        description="File that holds it, from the configuration's folder. It is read again when it "
        "changes.",
    )
    generate: bool = Field(
        False, description="With `file`: make a random one, mode 0600, if the file is not there."
    )
    command: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Program that prints it, with its arguments, such as [pass, show, openai]. It "
        "runs in the configuration's folder, without a shell.",
    )
    timeout: Duration = Field(
        10.0, gt=0, le=60, description="With `command`: longest time that the program may take."
    )
    provider: str | None = Field(
        None, min_length=1, description="Name of an entry of `secret_providers`."
    )
    name: str | None = Field(
        None, min_length=1, description="With `provider`: name of the secret there."
    )
    every: Duration | None = Field(
        None,
        ge=1,
        description="With `command` or `provider`: how often it is read again; default: at a "
        "reload only.",
    )
    _value: bytes = PrivateAttr(b"")

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> Self:
        sources = (self.env, self.file, self.command, self.provider)
        if sum(one is not None for one in sources) != 1:
            raise ValueError("give either `env` or `file`, or else `command` or `provider`")
        if self.generate and self.file is None:
            raise ValueError("`generate` needs `file`")
        if (self.provider is None) != (self.name is None):
            raise ValueError("`provider` and `name` need each other")
        if "timeout" in self.model_fields_set and self.command is None:
            raise ValueError("`timeout` needs `command`")
        if self.every is not None and self.command is None and self.provider is None:
            raise ValueError("`every` needs `command` or `provider`; a file is watched anyway")
        context = info.context or {}
        if "base" in context:
            self._value = self._value_from(context.get("secrets") or SecretSources(context["base"]))
        return self

    def _value_from(self, sources: SecretSources) -> bytes:
        if self.env is not None:
            return sources.from_environment(self.env)
        if self.file is not None:
            return sources.from_file(self.file, generate=self.generate)
        if self.command is not None:
            return sources.from_command(self.command, self.timeout, self.every)
        assert self.provider is not None
        assert self.name is not None
        return sources.from_provider(self.provider, self.name, self.every)

    def reveal(self) -> bytes:
        """Return the value. The caller must not log it."""
        return self._value

    @model_serializer
    def _masked(self, info: SerializationInfo) -> Any:
        key = (info.context or {}).get(FINGERPRINT)
        if key is None:
            return "***"
        return hmac.digest(key, self._value, "sha256").hex()

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__
