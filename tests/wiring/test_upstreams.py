"""Upstreams of a configuration: which endpoints a reload takes over."""

from __future__ import annotations

from pathlib import Path

import trustme
import yaml

from gateway.config import load_text
from gateway.load.turn_writes import TurnWrites
from gateway.upstream.tls import ClientContexts
from gateway.wiring.upstreams import upstreams


def test_a_replaced_client_certificate_makes_another_endpoint(tmp_path: Path) -> None:
    authority, contexts = trustme.CA(), ClientContexts()
    files = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    upstream = {"endpoints": [{"url": "https://a.example"}], "tls": files}
    text = yaml.safe_dump(
        {
            "upstreams": {"a": upstream},
            "routes": [{"path": "/", "name": "a", "upstream": "a", "auth": "anonymous"}],
        }
    )

    def issue() -> None:
        issued = authority.issue_cert("gateway.example")
        issued.cert_chain_pems[0].write_to_path(files["cert"])
        issued.private_key_pem.write_to_path(files["key"])

    def signature() -> object:
        def ignore(*_: object) -> None:
            return None

        made = upstreams(load_text(text), ignore, ignore, ignore, contexts, TurnWrites())
        (endpoint,) = made["a"].endpoints
        return endpoint.signature

    issue()
    first = signature()
    assert signature() == first
    issue()
    assert signature() != first
