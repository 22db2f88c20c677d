"""AWS Signature Version 4, by the examples of its documentation.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from gateway.http.aws_signature import (
    AwsCredentials,
    canonical_path,
    canonical_query,
    signed_headers,
)

CREDENTIALS = AwsCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = {"host": "examplebucket.s3.amazonaws.com"}
NOTHING = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        (
            *("GET", "/test.txt", {}, {"range": "bytes=0-9"}, b""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            *("PUT", "/test$file.text", {}),
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            *("GET", "/", {"lifecycle": ""}, {}, b""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            *("GET", "/", {"max-keys": "2", "prefix": "J"}, {}, b""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_documented_examples_have_their_signatures(
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    signature: str,
) -> None:
    signed = signed_headers(
        CREDENTIALS,
        "us-east-1",
        method,
        canonical_path(path),
        canonical_query(query),
        {**HOST, **headers},
        hashlib.sha256(body).hexdigest(),
        NOW,
    )
    assert signed["authorization"].endswith(f"Signature={signature}")
    assert "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request" in signed["authorization"]


def test_the_token_of_temporary_credentials_is_sent_and_signed() -> None:
    credentials = AwsCredentials("id", "secret", "token")
    signed = signed_headers(credentials, "r", "GET", "/", "", HOST, NOTHING, NOW)
    assert signed["x-amz-security-token"] == "token"
    assert "x-amz-date;x-amz-security-token" in signed["authorization"]


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(AwsCredentials("id", "secret", "secret"))
