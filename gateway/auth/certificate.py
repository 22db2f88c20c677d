"""Client certificates: TLS has verified the chain, this provider says whose certificate it is."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected

_CACHED = 4096
_KINDS = {"URI": "uri", "DNS": "dns", "email": "email"}


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """Names in a verified certificate."""

    names: tuple[tuple[str, str], ...]
    """Kind and value of each name: uri, dns, email, common_name, organization,
    organizational_unit.
    """
    expires_at: float
    """Time when it expires, in seconds since the epoch."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> PeerCertificate:
        """Return the certificate that `ssl.SSLSocket.getpeercert` describes."""
        names = [
            (_KINDS[kind], value)
            for kind, value in found.get("subjectAltName", ())
            if kind in _KINDS
        ]
        subject = {
            "commonName": "common_name",
            "organizationName": "organization",
            "organizationalUnitName": "organizational_unit",
        }
        names += [
            (subject[field], value)
            for group in found.get("subject", ())
            for field, value in group
            if field in subject
        ]
        return cls(tuple(names), float(ssl.cert_time_to_seconds(found["notAfter"])))

    def first(self, kind: str) -> str | None:
        """Return the first name of a kind; None if there is none."""
        return next((value for found, value in self.names if found == kind), None)


class CertificateProvider:
    """Provider whose credential is the client certificate of the connection."""

    header: str | None = None
    sent_headers: frozenset[bytes] = frozenset()

    def __init__(
        self,
        name: str,
        *,
        subject: str,
        allow: Sequence[str],
        tenant: str | None = None,
        tier: str | None = None,
        scopes: Iterable[str] = (),
    ) -> None:
        """`subject` and `tenant` are kinds of names; for a tenant also `trust_domain`, that of a
        SPIFFE ID. `allow` are patterns of subjects; empty for all.
        """
        self.name = name
        self._subject = subject
        self._allow = tuple(allow)
        self._tenant = tenant
        self._tier = tier
        self._scopes = frozenset(scopes)
        self._known = lru_cache(_CACHED)(self._principal)

    def identify(self, certificate: PeerCertificate) -> Principal:
        """Return the principal of a certificate. Raise Rejected."""
        principal = self._known(certificate)
        if not self.is_valid(principal):
            raise Rejected("the certificate has expired", "The client certificate has expired")
        return principal

    def _principal(self, certificate: PeerCertificate) -> Principal:
        subject = certificate.first(self._subject)
        if subject is None:
            raise Rejected(
                f"the certificate has no {self._subject}",
                "The client certificate has not the kind of name that is accepted here",
            )
        if self._allow and not any(fnmatchcase(subject, one) for one in self._allow):
            raise Rejected(
                f"{subject} is not allowed", "The client certificate is not accepted here"
            )
        tenant = None
        if self._tenant == "trust_domain":
            tenant = urlsplit(certificate.first("uri") or "").hostname
        elif self._tenant is not None:
            tenant = certificate.first(self._tenant)
        return Principal(
            subject,
            self.name,
            tenant=tenant,
            tier=self._tier,
            scopes=self._scopes,
            expires_at=certificate.expires_at,
        )

    def verify_now(self, credential: str) -> Principal | None:
        """Raise Rejected: the credential is not in a header."""
        raise Rejected("a client certificate is needed", None)

    async def verify(self, credential: str) -> Principal:
        """Raise Rejected: the credential is not in a header."""
        raise Rejected("a client certificate is needed", None)

    def is_valid(self, principal: Principal) -> bool:
        """Tell whether the certificate has not expired."""
        return principal.expires_at is None or principal.expires_at > time.time()

    def not_ready(self) -> str | None:
        """Return None: nothing has to be fetched."""
        return None

    def start(self) -> None:
        """Do nothing: there are no background tasks."""

    def close(self) -> None:
        """Do nothing: see `start`."""
