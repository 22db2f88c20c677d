"""Bucket of S3, or of a service that imitates it: objects are put, with signed requests."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from gateway.http.aws_signature import (
    AwsCredentials,
    canonical_path,
    canonical_query,
    signed_headers,
)
from gateway.http.connectors import connector_to
from gateway.http.egress import Proxy

_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_ANSWER_CAP_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024
_SILENCE_S = 30.0


class BucketFailed(Exception):
    """The bucket did not take an object. The message says why, without the address."""


@dataclass(frozen=True, slots=True)
class BucketOptions:
    """Address and credentials of a bucket."""

    endpoint: str
    """URL of the service, without the bucket."""
    bucket: str
    region: str
    credentials: AwsCredentials
    in_path: bool
    """True if the bucket is the first part of the path; otherwise of the host name."""
    timeout_s: float = 300.0
    """Longest time for one object."""
    context: ssl.SSLContext | None = None
    proxy: Proxy | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class S3Bucket:
    """Client of one bucket."""

    def __init__(self, options: BucketOptions) -> None:
        self._options = options
        parts = urlsplit(options.endpoint)
        host, base = parts.netloc, parts.path.rstrip("/")
        if options.in_path:
            base = f"{base}/{options.bucket}"
        else:
            host = f"{options.bucket}.{host}"
        self._scheme, self._host, self._base = parts.scheme, host, base

    async def put(self, name: str, file: BinaryIO, size_bytes: int, sha256: str) -> None:
        """Put an object with the content of a file, which has this size and digest. Raise
        BucketFailed.
        """
        headers = {
            "content-length": str(size_bytes),
            "content-type": "application/octet-stream",
        }
        status, answer, told = await self._send("PUT", name, headers, sha256, _pieces(file))
        if status != 200:
            raise BucketFailed(_why(status, answer, told))

    async def _send(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str],
        sha256: str,
        body: AsyncIterator[bytes] | None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        options = self._options
        path, query = canonical_path(f"{self._base}/{name}"), canonical_query({})
        signed = signed_headers(
            options.credentials,
            options.region,
            method,
            path,
            query,
            {"host": self._host, **headers},
            sha256,
            options.now(),
        )
        # Encoded: what is sent has to be what is signed.
        url = URL(f"{self._scheme}://{self._host}{path}", encoded=True)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector_to(str(url), options.proxy, context=options.context),
                    timeout=aiohttp.ClientTimeout(
                        total=options.timeout_s, sock_connect=10.0, sock_read=_SILENCE_S
                    ),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                ) as session,
                session.request(
                    method, url, data=body, headers=signed, allow_redirects=False
                ) as response,
            ):
                answer = await response.content.read(_ANSWER_CAP_BYTES)
                return response.status, answer, response.headers
        except TimeoutError as exc:
            raise BucketFailed("it does not answer in time") from exc
        except aiohttp.ClientConnectorError as exc:
            raise BucketFailed(f"it cannot be reached: {exc.os_error.strerror or ''}") from exc
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as exc:
            raise BucketFailed(type(exc).__name__) from exc


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while piece := await loop.run_in_executor(None, file.read, _PIECE_BYTES):
        yield piece


def _why(status: int, answer: bytes, headers: Mapping[str, str]) -> str:
    """Return the reason of a refusal: the status, S3's code, and the region to use instead."""
    match = _CODE.search(answer)
    code = f" {match[1].decode()}" if match else ""
    region = headers.get("x-amz-bucket-region", "")
    hint = (
        f"; the bucket is in the region {region}"
        if re.fullmatch(r"[a-z0-9-]{1,32}", region)
        else ""
    )
    if 300 <= status < 400:
        return f"status {status}{code}: it redirects to another address{hint}"
    return f"status {status}{code}{hint}"
