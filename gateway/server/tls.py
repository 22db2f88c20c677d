"""TLS of the public listener: its certificate, and those of its clients."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.config import models

_EVERY_S = 1.0
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MODES = {"optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def server_context(options: models.ListenerTls) -> ssl.SSLContext:
    """Return the context for the connections of clients. Raise OSError or ssl.SSLError if a file
    cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.min_version]
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(options.cert, options.key, password=_no_password)
    if options.client_ca is not None:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = _MODES[options.client_certificate]
    return context


def _no_password() -> str:
    """Answer OpenSSL's request for the password of a key. It would ask at the terminal."""
    raise ssl.SSLError("the key is encrypted")


class CertificateFiles:
    """Watch over the files of the certificate and of the clients' authorities: new connections get
    renewed ones within a second.

    Files that cannot be used, because only one of them is new for example, are reported and tried
    again when they change. The certificate before stays in use.
    """

    def __init__(
        self, context: ssl.SSLContext, options: models.ListenerTls, report: Callable[[str], None]
    ) -> None:
        self.context = context
        """Context for new connections. A renewal replaces it."""
        self._options = options
        self._report = report
        self._seen = self._versions()

    async def watch(self) -> None:
        """Look at the files every second. Runs until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look()

    def look(self) -> None:
        """Load the files if one of them has changed."""
        versions = self._versions()
        if versions == self._seen or None in versions:
            return
        self._seen = versions
        try:
            # A new context: authorities cannot be removed from one, and a failure would leave it
            # without a usable key.
            self.context = server_context(self._options)
        except (OSError, ssl.SSLError) as exc:
            self._report(f"server.tls: the renewed certificate cannot be used: {exc}")
        else:
            self._report("server.tls: serves the renewed certificate")

    def _versions(self) -> list[tuple[int, int, int] | None]:
        options = self._options
        files = (options.cert, options.key, *filter(None, [options.client_ca]))
        return [_version(Path(file)) for file in files]


def _version(file: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        found = file.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None
