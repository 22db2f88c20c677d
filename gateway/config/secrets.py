"""Secrets in the configuration: `{env: NAME}`, `{file: PATH}`, `{command: [...]}` or
`{provider: NAME, name: ...}`.

A `Secret` is always printed as `***`. Its value is read when the configuration is loaded, so a
missing secret is an error of the configuration, and not of the first request. Commands that need
few of the secrets read them when they are used (`SecretReading`). A value that changes later is
applied like a reload (`gateway/admin/reload.py`).
"""

from __future__ import annotations

import hmac
import secrets
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

from gateway.config.secret_sources import SecretReading, SecretSources
from gateway.config.units import Duration

_PLACEHOLDER_BYTES = 32
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
    _value: bytes | None = PrivateAttr(b"")
    """None until it is read."""
    _sources: SecretSources | None = PrivateAttr(None)
    """Sources of a value that is read when it is used."""

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> Self:
        named = (self.env, self.file, self.command, self.provider)
        if sum(one is not None for one in named) != 1:
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
            sources: SecretSources = context.get("secrets") or SecretSources(context["base"])
            if sources.reading is SecretReading.AT_LOAD:
                self._value = self._value_from(sources)
            else:
                self._value, self._sources = None, sources
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
        """Return the value. The caller must not log it. Raise ConfigError if it is read only now,
        and cannot be.
        """
        sources = self._sources
        if self._value is None:
            assert sources is not None
            if self.is_placeholder:
                self._value = secrets.token_hex(_PLACEHOLDER_BYTES).encode()
            else:
                try:
                    self._value = self._value_from(sources)
                except ValueError as exc:
                    keys = {name: getattr(self, name) for name in self.model_fields_set}
                    raise sources.unreadable(keys, str(exc)) from exc
        return self._value

    @property
    def known(self) -> bytes | None:
        """Value, if it has been read; None for a placeholder, too. For checks of its form."""
        return None if self.is_placeholder else self._value

    @property
    def is_placeholder(self) -> bool:
        """True if the value is never read."""
        return self._sources is not None and self._sources.reading is SecretReading.NEVER

    @model_serializer
    def _masked(self, info: SerializationInfo) -> Any:
        key = (info.context or {}).get(FINGERPRINT)
        if key is None:
            return "***"
        return hmac.digest(key, self.reveal(), "sha256").hex()

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__
