"""TLS to upstreams: verified unless that is switched off."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from gateway.upstream.tls import ClientContexts, client_context


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


def test_a_context_is_shared_until_its_files_change(tmp_path: Path) -> None:
    contexts, file = ClientContexts(), tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    first = contexts.get(str(file), verify=True, own=None)
    assert contexts.get(str(file), verify=True, own=None) is first
    assert contexts.get(str(file), verify=False, own=None) is not first
    trustme.CA().cert_pem.write_to_path(file)
    assert contexts.get(str(file), verify=True, own=None) is not first


def test_a_context_has_the_certificate_that_its_file_has_now(tmp_path: Path) -> None:
    contexts, authority = ClientContexts(), trustme.CA()
    files = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")

    def issued() -> ssl.SSLContext:
        issued = authority.issue_cert("a.example")
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
        return contexts.get(None, verify=True, own=files)

    first = issued()
    assert contexts.get(None, verify=True, own=files) is first
    assert contexts.get(None, verify=True, own=None) is not first
    assert issued() is not first
