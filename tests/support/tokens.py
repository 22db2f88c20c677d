"""Identity provider of the tests, and tokens that it accepts."""

from __future__ import annotations

import time
from typing import Any

import jwt

SECRET_VARIABLE = "GATEWAY_TEST_JWT_SECRET"
SECRET = "a-secret-of-thirty-two-characters-or-more"

Auth = dict[str, dict[str, Any]]
"""Type of an `auth` section. The fixture `auth` has one provider, `corp`."""

CORP: Auth = {
    "corp": {
        "type": "jwt",
        "algorithm": "HS256",
        "secret": {"env": SECRET_VARIABLE},
        "issuer": "https://sso.test",
        "audience": "llm",
        "claims": {"tenant": "org"},
    }
}


def bearer(**claims: Any) -> str:
    """Return an Authorization header with a token that `corp` accepts, unless these claims change
    that. It is valid for one hour, since some are made before the first test runs.
    """
    standard = {"iss": "https://sso.test", "aud": "llm", "sub": "alice", "exp": time.time() + 3600}
    token = jwt.encode({**standard, **claims}, SECRET, algorithm="HS256")
    return f"Authorization: Bearer {token}"
