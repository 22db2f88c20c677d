"""Client certificates: which name is the subject, and which are accepted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.auth.certificate import CertificateProvider, PeerCertificate
from gateway.auth.provider import Rejected

FOUND: dict[str, Any] = {
    "subject": ((("organizationName", "acme"),), (("commonName", "app"),)),
    "subjectAltName": (
        ("URI", "spiffe://prod.internal/app"),
        ("DNS", "app.internal"),
        ("IP Address", "10.0.0.1"),
    ),
    "notAfter": "Jan  5 09:34:43 2100 GMT",
}


def provider(**options: Any) -> CertificateProvider:
    return CertificateProvider("mesh", **{"subject": "uri", "allow": (), **options})


@pytest.mark.parametrize(
    ("kind", "subject"),
    [("uri", "spiffe://prod.internal/app"), ("dns", "app.internal"), ("common_name", "app")],
)
def test_the_subject_is_the_name_of_the_configured_kind(kind: str, subject: str) -> None:
    principal = provider(subject=kind).identify(PeerCertificate.of(FOUND))
    assert (principal.subject, principal.provider) == (subject, "mesh")
    assert principal.expires_at == 4102824883.0


@pytest.mark.parametrize(
    ("tenant", "found"),
    [("trust_domain", "prod.internal"), ("organization", "acme"), (None, None)],
)
def test_the_tenant_is_a_name_too(tenant: str | None, found: str | None) -> None:
    assert provider(tenant=tenant).identify(PeerCertificate.of(FOUND)).tenant == found


def test_a_certificate_without_such_a_name_is_rejected() -> None:
    with pytest.raises(Rejected, match="no email"):
        provider(subject="email").identify(PeerCertificate.of(FOUND))


@pytest.mark.parametrize(
    ("allow", "accepted"),
    [
        ("spiffe://prod.internal/*", True),
        ("spiffe://prod.internal/app", True),
        ("spiffe://prod.internal", False),
        ("spiffe://PROD.internal/*", False),
    ],
)
def test_only_allowed_subjects_are_accepted(allow: str, accepted: bool) -> None:
    one = provider(allow=[allow])
    if accepted:
        assert one.identify(PeerCertificate.of(FOUND)).subject
    else:
        with pytest.raises(Rejected, match="not allowed"):
            one.identify(PeerCertificate.of(FOUND))


def test_a_certificate_that_expires_on_an_open_connection_is_rejected_then() -> None:
    one = provider()
    certificate = PeerCertificate((("uri", "spiffe://a/b"),), time.time() - 1)
    with pytest.raises(Rejected, match="expired"):
        one.identify(certificate)


async def test_a_token_is_not_a_certificate() -> None:
    with pytest.raises(Rejected):
        provider().verify_now("token")
    with pytest.raises(Rejected):
        await provider().verify("token")
