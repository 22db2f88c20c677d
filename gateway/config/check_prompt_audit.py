"""Checks of the prompt audit and of the routes that are recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.config import models
from gateway.config.check_upstreams import check_authority, check_proxy
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath

_CREDENTIAL = re.compile(rb"[\x21-\x7e]+")


def check_prompt_audit(path: ConfigPath, audit: models.PromptAuditSettings) -> Iterator[Finding]:
    """Yield the problems of the section."""
    if audit.s3 is not None:
        yield from _check_bucket((*path, "s3"), audit.s3)
        if audit.retention is not None:
            hint = "take it away, and give the bucket a lifecycle rule"
            yield (*path, "retention"), "does not remove objects of a bucket", hint
        if audit.s3.spool < 2 * audit.rotate.size:
            hint = "make it larger, or `rotate.size` smaller"
            yield (*path, "s3", "spool"), "holds less than two files", hint
    if audit.retention is not None and audit.retention < audit.rotate.age:
        yield (*path, "retention"), "is shorter than `rotate.age`", None
    encryption = audit.encryption
    if encryption is not None:
        for index, name in enumerate(encryption.use):
            if name not in encryption.keys:
                yield (*path, "encryption", "use", index), "is not one of `keys`", None


def _check_bucket(path: ConfigPath, bucket: models.AuditBucket) -> Iterator[Finding]:
    yield from check_proxy((*path, "proxy"), bucket.proxy)
    if bucket.ca is not None:
        yield from check_authority((*path, "ca"), bucket.ca)
    if ".." in bucket.prefix.split("/") or "//" in bucket.prefix:
        yield (*path, "prefix"), "has `..` or an empty part", None
    for key in ("access_key", "secret_key", "session_token"):
        secret = getattr(bucket, key)
        value = None if secret is None else secret.known
        if value is not None and not _CREDENTIAL.fullmatch(value):
            yield (*path, key), "has characters that no credential has", None


def check_recorded_route(
    path: ConfigPath, route: models.Route, audit: models.RouteAudit, config: models.Config
) -> Iterator[Finding]:
    """Yield the problems of a route whose prompts are recorded."""
    here = (*path, "audit_prompts")
    if config.prompt_audit is None:
        yield here, "needs a destination", "add `prompt_audit` to the file"
    if route.bridge is not None:
        yield here, "belongs to the route that the bridge leads to", None
    elif route.issues is not None:
        yield here, "records prompts, and this route gives out tickets", None
    elif route.websocket:
        hint = "use a bridge, whose generations are recorded, or another route for sockets"
        yield (*path, "websocket"), "would let messages pass without a record", hint
    if not audit.request and not audit.answer:
        yield here, "records nothing of prompts", "set `request` or `answer`"
    for index, name in enumerate(audit.redact if isinstance(audit.redact, tuple) else ()):
        hook = config.hooks.get(name)
        if hook is not None and not isinstance(hook, models.RedactSettings):
            yield (*here, "redact", index), "is not a hook of the type redact", None
