"""Signature of requests to S3 and services that imitate it: AWS Signature Version 4.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Access key of one account or role."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    """Token of temporary credentials."""


def canonical_path(path: str) -> str:
    """Return a path as S3 signs it: each byte is escaped once, and slashes stay."""
    return quote(path, safe="/-_.~")


def canonical_query(fields: Mapping[str, str]) -> str:
    """Return a query as it is signed and sent: escaped, in the order of the names."""
    escaped = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in fields.items()
    )
    return "&".join(f"{name}={value}" for name, value in escaped)


def signed_headers(
    credentials: AwsCredentials,
    region: str,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body_sha256: str,
    now: datetime,
) -> dict[str, str]:
    """Return `headers` with those that sign the request. They must hold `host`, and names are in
    lower case. `path` and `query` are in canonical form, `body_sha256` is in hexadecimal digits,
    `now` is in UTC.
    """
    at = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "x-amz-content-sha256": body_sha256, "x-amz-date": at}
    if credentials.session_token is not None:
        signed["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(signed))
    fields = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in sorted(signed))
    request = "\n".join((method, path, query, fields, names, body_sha256))
    scope = f"{at[:8]}/{region}/s3/aws4_request"
    text = "\n".join((_ALGORITHM, at, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    signed["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope},"
        f"SignedHeaders={names},Signature={signature}"
    )
    return signed
