"""API keys in a file, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.key_file import editing


def new_key(file: Path, **fields: Any) -> str:
    """Add a key with these fields to a file. Return it as an Authorization header."""
    text, key_id, salt, digest = api_key.generate()
    with editing(file) as keys:
        keys[key_id] = ApiKey(key_id, salt, digest, "ann", datetime.now(UTC), **fields)
    return f"Authorization: Bearer {text}"
