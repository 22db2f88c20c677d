"""TLS to upstreams: certificates are verified unless the configuration disables it."""

from __future__ import annotations

import ssl


def client_context(ca_file: str | None, *, verify: bool) -> ssl.SSLContext:
    """Return a TLS client context that trusts the system's CAs, or only those in `ca_file` (PEM).

    Raise OSError or ssl.SSLError if the file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
