"""Small configuration documents, and the problems that are found in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.config import ConfigError, load_text

Document = dict[str, Any]
VALID = """\
upstreams:
  vllm: {endpoints: [{url: "http://10.0.0.5:8000"}]}
models:
  llama-3: {upstream: vllm, model: meta-llama/Llama-3.1-8B-Instruct}
routes:
  - {name: openai, path: /v1/, auth: anonymous, models: [llama-3]}
"""
"""A small valid file."""


def problems(text: str) -> list[str]:
    """Return the problems of a text that is no configuration, with their places."""
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    return [str(problem) for problem in caught.value.problems]


def said_of(document: Document, base: Path = Path()) -> list[str]:
    """Return the problems of a document, without their places; none if it is valid."""
    try:
        load_text(yaml.safe_dump(document, sort_keys=False), base=base)
    except ConfigError as exc:
        return [str(problem).split(" ", 1)[1] for problem in exc.problems]
    return []


def document(**sections: Any) -> Document:
    """Return a valid document with one route to one upstream. Keywords replace its sections."""
    return {
        "upstreams": {"a": {"endpoints": [{"url": "http://10.0.0.1"}]}},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "a"}],
        **sections,
    }


def keys_in(folder: Path) -> None:
    """Write a public key of each kind, and two shared secrets, to files in the folder."""
    (folder / "short").write_text("short")
    (folder / "secret").write_text("s" * 32)
    for name, key in (
        ("rsa.pem", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ("weak.pem", rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505
        ("ec.pem", ec.generate_private_key(ec.SECP256R1())),
        ("ed.pem", ed25519.Ed25519PrivateKey.generate()),
    ):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / name).write_bytes(pem)
