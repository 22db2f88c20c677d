"""TLS to upstreams: certificates are verified unless the configuration disables it."""

from __future__ import annotations

import ssl


def client_context(
    ca_file: str | None, *, verify: bool, own: tuple[str, str] | None = None
) -> ssl.SSLContext:
    """Return a TLS client context that trusts the system's CAs, or only those in `ca_file`. `own`
    are the files of the gateway's certificate and its key (mutual TLS). All files are in PEM.

    Raise OSError or ssl.SSLError if a file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if own is not None:
        context.load_cert_chain(*own, password=_no_password)
    return context


def _no_password() -> str:
    """Answer OpenSSL's question for the password of a key, which would wait for a terminal."""
    raise ssl.SSLError("the key is encrypted")
