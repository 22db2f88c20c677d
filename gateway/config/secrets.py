"""Secrets in the configuration: `{env: NAME}`, `{file: PATH}`, or a file generated at first start.

A `Secret` is always printed as `***`. Its value is read when the configuration is loaded, so a
missing secret is an error of the configuration, and not of the first request.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
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

_GENERATED_BYTES = 32
FINGERPRINT = "fingerprint"
"""Name of a random key in the context of `model_dump`. Values are then replaced by their HMAC, to
compare two configurations. The result must not be shown.
"""


class Secret(BaseModel):
    """Secret value that is kept outside the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    env: str | None = Field(None, min_length=1, description="Environment variable that holds it.")
    file: str | None = Field(
        None, min_length=1, description="File that holds it, from the configuration's folder."
    )
    generate: bool = Field(
        False, description="With `file`: make a random one, mode 0600, if the file is not there."
    )
    _value: bytes = PrivateAttr(b"")

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either `env` or `file`")
        if self.generate and self.file is None:
            raise ValueError("`generate` needs `file`")
        base = (info.context or {}).get("base")
        if base is not None:
            self._value = self._value_from(base)
        return self

    def _value_from(self, base: Path) -> bytes:
        if self.env is not None:
            value = os.environb.get(self.env.encode(), b"")
            if not value:
                raise ValueError(f"environment variable {self.env} is not set")
            return value
        path = base / (self.file or "")
        try:
            if self.generate and not path.exists():
                _generate(path)
            value = path.read_bytes().rstrip(b"\r\n")
        except OSError as exc:
            raise ValueError(f"cannot read {self.file}: {exc.strerror}") from exc
        if not value:
            raise ValueError(f"{self.file} is empty")
        return value

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


def _generate(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # If two processes start at once, the first to create the file determines the secret.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(_GENERATED_BYTES))
