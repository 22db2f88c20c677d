"""TLS to upstreams: verified unless that is switched off."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from gateway.upstream.tls import client_context


def test_certificates_are_verified_against_the_given_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = client_context(str(tmp_path / "ca.pem"), verify=True)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_verification_can_be_switched_off() -> None:
    context = client_context(None, verify=False)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_an_authority_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        client_context(str(tmp_path / "ca.pem"), verify=True)
