"""A server of S3 that checks signatures: moto, in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

_PATIENCE_S = 90.0
_SETUP = """
import base64, json, logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
import boto3
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://127.0.0.1:{port}"
def client(name):
    return boto3.client(name, endpoint_url=url, region_name="us-east-1",
                        aws_access_key_id="setup", aws_secret_access_key="setup")
iam = client("iam")
iam.create_user(UserName="gateway")
statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::prompts/*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
iam.put_user_policy(UserName="gateway", PolicyName="put", PolicyDocument=policy)
key = iam.create_access_key(UserName="gateway")["AccessKey"]
client("s3").create_bucket(Bucket="prompts")
told = {"url": url, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
print(json.dumps(told), flush=True)
for _ in sys.stdin:
    (account,) = s3_backends
    keys = s3_backends[account]["aws"].buckets["prompts"].keys
    found = {name: base64.b64encode(key.value).decode() for name, key in keys.items()}
    print(json.dumps(found), flush=True)
server.stop()
"""
_SETUP_ACTIONS = 4
"""Calls of the script above, which are not checked."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """Running server, with a user who may put objects into the bucket `prompts`, and nothing
    else.
    """

    url: str
    access_key: str
    secret_key: str
    _process: asyncio.subprocess.Process

    async def objects(self) -> dict[str, bytes]:
        """Return the objects in the bucket."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        found = json.loads(await process.stdout.readline())
        return {name: base64.b64decode(data) for name, data in found.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """Return the section `s3`, whose secrets are the variables S3_ID and S3_SECRET."""
        return {
            "endpoint": self.url,
            "bucket": "prompts",
            "prefix": "gateway/",
            "access_key": {"env": "S3_ID"},
            "secret_key": {"env": "S3_SECRET"},
        }


@asynccontextmanager
async def s3_server() -> AsyncIterator[S3Server]:
    """Run a server."""
    environ = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_SETUP_ACTIONS)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", _SETUP),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 * 1024**2,
        env=environ,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            told = json.loads(await process.stdout.readline())
        yield S3Server(told["url"], told["id"], told["secret"], process)
    finally:
        process.stdin.close()
        await process.wait()
