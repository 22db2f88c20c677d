"""TLS of a listener: its authority and its certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """The listener's settings, with a certificate for localhost."""
    own = tmp_path / "own.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(own))
    return {"cert": str(own), "key": str(own)}
