"""TLS context for connections from the admin process to the public listener of the same gateway."""

from __future__ import annotations

import ssl


def own_listener() -> ssl.SSLContext:
    """Return a context that accepts the gateway's own certificate.

    The certificate is for the name that clients use, and the connection goes to a socket of the
    same gateway by its address. So there is no name to verify.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
