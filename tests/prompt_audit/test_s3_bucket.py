"""Bucket of S3: what is sent, and what is told when it fails."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime

import pytest

from gateway.http.aws_signature import AwsCredentials
from gateway.prompt_audit.s3_bucket import BucketFailed, BucketOptions, S3Bucket
from tests.support.upstream import Script, ScriptedUpstream, hang, raw_reply, reply

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ERROR = b"<?xml version='1.0'?><Error><Code>%b</Code><Message>secret words</Message></Error>"


def bucket(endpoint: str, **changed: object) -> S3Bucket:
    defaults: dict[str, object] = {
        "endpoint": endpoint,
        "bucket": "b",
        "region": "r",
        "credentials": AwsCredentials("id", "very-secret", "token"),
        "in_path": True,
        "timeout_s": 20.0,
        "now": lambda: NOW,
    }
    return S3Bucket(BucketOptions(**{**defaults, **changed}))  # type: ignore[arg-type]


async def put(one: S3Bucket, data: bytes = b"content", name: str = "2026/11/a b.gz") -> None:
    digest = hashlib.sha256(data).hexdigest()
    await one.put(name, io.BytesIO(data), len(data), digest)


async def test_an_object_is_put_with_a_signature_over_its_content() -> None:
    async with ScriptedUpstream(raw_reply(reply(b""))) as server:
        await put(bucket(server.url))
    (sent,) = server.requests
    assert (sent.method, sent.target, sent.body) == ("PUT", "/b/2026/11/a%20b.gz", b"content")
    assert sent.value("content-length") == b"7"
    assert sent.value("x-amz-date") == b"20261130T120000Z"
    assert sent.value("x-amz-security-token") == b"token"
    assert sent.value("x-amz-content-sha256") == hashlib.sha256(b"content").hexdigest().encode()
    authorization = sent.value("authorization") or b""
    assert b"Credential=id/20261130/r/s3/aws4_request" in authorization
    assert b"content-length;content-type;host" in authorization
    assert b"very-secret" not in sent.raw if hasattr(sent, "raw") else True


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            raw_reply(reply(ERROR % b"AccessDenied", status="403 Forbidden")),
            "^status 403 AccessDenied$",
        ),
        (
            raw_reply(reply(ERROR % b"SlowDown", status="503 Slow Down")),
            "^status 503 SlowDown$",
        ),
        (
            raw_reply(
                reply(
                    ERROR % b"PermanentRedirect",
                    status="301 Moved",
                    headers=["Location: http://127.0.0.1:1/", "x-amz-bucket-region: eu-1"],
                )
            ),
            "^status 301 PermanentRedirect: it redirects to another address; the bucket is in the "
            "region eu-1$",
        ),
        (raw_reply(reply(b"nothing", status="500 No")), "^status 500$"),
    ],
)
async def test_a_refusal_is_told_by_its_code_alone(script: Script, why: str) -> None:
    async with ScriptedUpstream(script) as server:
        with pytest.raises(BucketFailed, match=why):
            await put(bucket(server.url))


async def test_a_bucket_that_does_not_answer_is_told() -> None:
    async with ScriptedUpstream(hang) as server:
        with pytest.raises(BucketFailed, match="does not answer in time"):
            await put(bucket(server.url, timeout_s=0.2))
    with pytest.raises(BucketFailed, match="cannot be reached"):
        await put(bucket("http://127.0.0.1:1"))


async def test_the_bucket_may_be_in_the_host_name() -> None:
    async with ScriptedUpstream(raw_reply(reply(b""))) as server:
        endpoint = server.url.replace("127.0.0.1", "0.0.1")
        await put(bucket(endpoint, bucket="127", in_path=False), name="a")
    (sent,) = server.requests
    assert sent.target == "/a"
    assert (sent.value("host") or b"").startswith(b"127.0.0.1:")
