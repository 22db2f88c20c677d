"""Checks of the prompt audit and of the routes that are recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError, load_text
from gateway.config.models import AuditPublicKey, AuditSecretKey
from tests.support.gateway import config_text, simple_config

SECRET = {"secret": {"file": "secret"}}
BUCKET = {
    "endpoint": "https://s3.test",
    "bucket": "prompts",
    "access_key": {"file": "secret"},
    "secret_key": {"file": "secret"},
}


def loaded(tmp_path: Path, audit: Any, **route: Any) -> Any:
    (tmp_path / "secret").write_text("0f" * 32)
    (tmp_path / "spaced").write_text("a b")
    document = simple_config("http://127.0.0.1:1", **{"audit_prompts": {}, **route})
    if audit is not None:
        document["prompt_audit"] = audit
    document["hooks"] = {"ask": {"type": "webhook", "url": "http://127.0.0.1:1/"}}
    return load_text(config_text(document, {}), base=tmp_path)


def test_the_defaults_are_enough(tmp_path: Path) -> None:
    config = loaded(tmp_path, {})
    assert config.prompt_audit.directory == str(tmp_path / ".gateway/prompts")
    assert config.routes[0].audit_prompts.max_bytes == 256 * 1024


def test_keys_are_secrets_or_public_keys(tmp_path: Path) -> None:
    keys = {"s": SECRET, "p": {"public_key": "p.pem"}}
    encryption = loaded(
        tmp_path, {"encryption": {"keys": keys, "use": ["p"]}}
    ).prompt_audit.encryption
    assert isinstance(encryption.keys["s"], AuditSecretKey)
    assert isinstance(encryption.keys["p"], AuditPublicKey)


@pytest.mark.parametrize(
    ("audit", "route", "why"),
    [
        (None, {}, "needs a destination"),
        ({"retention": "1h", "rotate": {"age": "2h"}}, {}, "is shorter than `rotate.age`"),
        ({"retention": "10m"}, {}, "retention"),
        ({"encryption": {"keys": {}}}, {}, "encryption.keys"),
        ({"encryption": {"keys": {"s": SECRET}, "use": ["t"]}}, {}, "is not one of `keys`"),
        ({"s3": BUCKET, "retention": "90d"}, {}, "does not remove objects of a bucket"),
        ({"s3": {**BUCKET, "spool": "64MiB"}}, {}, "holds less than two files"),
        ({"s3": {**BUCKET, "prefix": "a/../b"}}, {}, "has `..` or an empty part"),
        ({"s3": {**BUCKET, "prefix": "/a"}}, {}, "prefix"),
        ({"s3": {**BUCKET, "bucket": "Prompts"}}, {}, "bucket"),
        ({"s3": {**BUCKET, "secret_key": {"file": "spaced"}}}, {}, "has characters that no"),
        ({"s3": {**BUCKET, "ca": "none.pem"}}, {}, "cannot be used"),
        ({}, {"websocket": True}, "would let messages pass without a record"),
        ({}, {"audit_prompts": {"request": False, "answer": False}}, "records nothing"),
        ({}, {"audit_prompts": {"redact": ["ask"]}}, "is not a hook of the type redact"),
        ({}, {"audit_prompts": {"redact": ["none"]}}, "none"),
        ({}, {"audit_prompts": {"redact": []}}, "redact"),
        ({}, {"audit_prompts": {"max_bytes": "1GiB"}}, "max_bytes"),
        ({}, {"audit_prompts": {"sample": "101%"}}, "sample"),
    ],
)
def test_what_cannot_be_recorded_is_told(
    tmp_path: Path, audit: Any, route: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, audit, **route)
    assert why in str(caught.value)
    assert "0f0f" not in str(caught.value)
