"""The real nginx, with the configuration this repository ships.

Only the files under `site/` are the tests' own: ports, certificates, paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import trustme

SHIPPED = Path(__file__).parents[2] / "nginx"
_PATIENCE_S = 10.0
_POLL_S = 0.02
# Debian keeps daemons outside an ordinary user's PATH.
_BINARY = shutil.which("nginx") or "/usr/sbin/nginx"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class StartNginx(Protocol):
    """Starts nginx in front of the gateway on a port; it stops when the test ends."""

    def __call__(self, gateway_port: int, keepalive: int = 256) -> Awaitable[Nginx]:
        """`keepalive` is how many idle connections to the gateway it keeps."""


class Nginx:
    """nginx before one gateway, on a port of its own."""

    def __init__(
        self,
        folder: Path,
        gateway_port: int,
        keepalive: int = 256,
        site: Mapping[str, str] | None = None,
    ) -> None:
        """`site` replaces files of `site/`, by their names without the ending."""
        self._folder = folder
        self._site = site or {}
        self._gateway_port = gateway_port
        self._keepalive = keepalive
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.ca_file = folder / "ca.pem"

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"https://localhost:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        with self._hold_port():
            self._write_files()
            self._process = await asyncio.create_subprocess_exec(
                *self._command("daemon off;"), stderr=asyncio.subprocess.PIPE
            )
            await self._wait_until_it_listens()

    async def test(self) -> str:
        """What `nginx -t` says; it has to accept the files."""
        with self._hold_port():
            self._write_files()
            process = await asyncio.create_subprocess_exec(
                *self._command(), "-t", stderr=asyncio.subprocess.PIPE
            )
            _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return errors.decode()

    async def stop(self) -> None:
        """End it."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()

    def log(self) -> list[dict[str, Any]]:
        """Its access log so far."""
        file = self._folder / "access.json"
        return [json.loads(line) for line in file.read_text().splitlines()]

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """Its access log, once it has this many lines."""
        async with asyncio.timeout(_PATIENCE_S):
            while len(lines := self.log()) < count:  # noqa: ASYNC110 -- another process writes it
                await asyncio.sleep(_POLL_S)
        return lines

    def trust(self) -> ssl.SSLContext:
        """What a client needs to believe its certificate."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    @contextlib.contextmanager
    def _hold_port(self) -> Iterator[None]:
        """Choose a port. nginx cannot be asked which one it got; holding it while nginx binds the
        same keeps others off it.
        """
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(("127.0.0.1", 0))
            self.port = held.getsockname()[1]
            yield

    def _command(self, directives: str = "") -> list[str]:
        own = f"pid {self._folder}/nginx.pid; {directives}"
        folder = str(self._folder)
        return [_BINARY, "-p", folder, "-c", f"{folder}/nginx.conf", "-e", "stderr", "-g", own]

    def _write_files(self) -> None:
        folder = self._folder
        site = folder / "site"
        site.mkdir(exist_ok=True)
        for name in ("nginx.conf", "gateway.conf"):
            shutil.copy(SHIPPED / name, folder / name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        texts = {
            "listen": f"{_listen(self.port)} server_name localhost;",
            "certificates": (
                f"ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;"
            ),
            "upstream": (SHIPPED / "site/upstream.conf")
            .read_text()
            .replace("127.0.0.1:8080", f"127.0.0.1:{self._gateway_port}")
            .replace("keepalive 256;", f"keepalive {self._keepalive};"),
            "access_log": f"access_log {folder}/access.json gateway;",
            "paths": "\n".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY),
        }
        for name, text in (texts | dict(self._site)).items():
            (site / f"{name}.conf").write_text(text + "\n")
        if os.geteuid() == 0:
            # Its workers run as another user, who has to reach the temporary folders.
            for part in (folder, *folder.parents):
                if part == Path("/tmp"):
                    break
                if part.stat().st_uid == 0 and part != Path("/"):
                    part.chmod(part.stat().st_mode | 0o011)

    async def _wait_until_it_listens(self) -> None:
        process = self._process
        assert process is not None
        async with asyncio.timeout(_PATIENCE_S):
            while process.returncode is None:
                # It listens a moment before it heeds signals; by then it has written its pid.
                if not (self._folder / "nginx.pid").exists():
                    await asyncio.sleep(_POLL_S)
                    continue
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(_POLL_S)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return
        raise AssertionError(f"nginx did not start: {(await process.communicate())[1].decode()}")


def _listen(port: int) -> str:
    """TLS and HTTP/2, in the words of the version that is here."""
    said = subprocess.run([_BINARY, "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"/(\d+)\.(\d+)\.(\d+)", said)
    assert version is not None, said
    if tuple(map(int, version.groups())) >= (1, 25, 1):
        return f"listen 127.0.0.1:{port} ssl reuseport; http2 on;"
    return f"listen 127.0.0.1:{port} ssl http2 reuseport;"
