"""Real nginx with the configuration of this repository.

Only the files under `site/` are specific to the tests: ports, certificates, paths.
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

from tests.support.block import AsyncBlock
from tests.support.waiting import PATIENCE_S, asked_until, eventually

SHIPPED = Path(__file__).parents[2] / "nginx"
_POLL_S = 0.02
# Debian installs daemons outside an ordinary user's PATH.
_BINARY = shutil.which("nginx") or "/usr/sbin/nginx"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class StartNginx(Protocol):
    """Type of the fixture that starts nginx in front of the gateway on a port. nginx is stopped
    when the test ends.
    """

    def __call__(
        self,
        gateway_port: int,
        keepalive: int = 256,
        *,
        site: Mapping[str, str] | None = None,
        main: str | None = None,
    ) -> Awaitable[Nginx]:
        """Start nginx. `keepalive` is the number of idle connections to the gateway that it
        keeps. For `site` and `main` see Nginx.
        """


class Nginx(AsyncBlock):
    """Process of nginx in front of one gateway."""

    def __init__(
        self,
        folder: Path,
        gateway_port: int,
        keepalive: int = 256,
        site: Mapping[str, str] | None = None,
        main: str | None = None,
    ) -> None:
        """Prepare nginx; `start` runs it. `site` replaces files of `site/`, by their names without
        the extension. `main` is the text of another `nginx.conf` than the shipped one.
        """
        self._folder = folder
        self._site = site or {}
        self._main = main
        self._gateway_port = gateway_port
        self._keepalive = keepalive
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.ca_file = folder / "ca.pem"

    @property
    def url(self) -> str:
        """URL for clients."""
        return f"https://localhost:{self.port}"

    async def start(self) -> None:
        """Start nginx, and wait until it listens."""
        with self._hold_port():
            self._write_files()
            self._process = await asyncio.create_subprocess_exec(
                *self._command("daemon off;"), stderr=asyncio.subprocess.PIPE
            )
            try:
                await self._wait_until_it_listens()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
                raise

    async def test(self) -> str:
        """Run `nginx -t`, which must accept the files. Return its output."""
        with self._hold_port():
            self._write_files()
            process = await asyncio.create_subprocess_exec(
                *self._command(), "-t", stderr=asyncio.subprocess.PIPE
            )
            _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return errors.decode()

    async def stop(self) -> None:
        """Stop nginx, which must end without an error."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()

    async def _enter(self) -> None:
        await self.start()

    async def _leave(self, error: BaseException | None) -> None:
        await self.stop()

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log so far."""
        file = self._folder / "access.json"
        return [json.loads(line) for line in file.read_text().splitlines()]

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """Wait until the access log has this many lines. Return its lines."""
        await eventually(lambda: len(self.log()) >= count, patience_s=PATIENCE_S)
        return self.log()

    def trust(self) -> ssl.SSLContext:
        """Return the TLS context with which a client accepts the certificate."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    @contextlib.contextmanager
    def _hold_port(self) -> Iterator[None]:
        """Choose a port, and hold it while nginx binds it too, so that no other program takes it.
        nginx cannot choose a port itself, since it does not report which one it got.
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
        site.mkdir(parents=True, exist_ok=True)
        for name in ("nginx.conf", "gateway.conf"):
            shutil.copy(SHIPPED / name, folder / name)
        if self._main is not None:
            (folder / "nginx.conf").write_text(self._main)
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
            "locations": (SHIPPED / "site/locations.conf").read_text(),
            "access_log": f"access_log {folder}/access.json gateway;",
            "paths": "\n".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY),
        }
        for name, text in (texts | dict(self._site)).items():
            (site / f"{name}.conf").write_text(text + "\n")
        if os.geteuid() == 0:
            # nginx's workers run as another user, who must be able to enter the temporary folders.
            for part in (folder, *folder.parents):
                if part == Path("/tmp"):
                    break
                if part.stat().st_uid == 0 and part != Path("/"):
                    part.chmod(part.stat().st_mode | 0o011)

    async def _wait_until_it_listens(self) -> None:
        process = self._process
        assert process is not None

        async def listens() -> bool:
            # nginx listens shortly before it handles signals. Once the pid file exists, it handles
            # them.
            if process.returncode is None and (self._folder / "nginx.pid").exists():
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await writer.wait_closed()
                return True
            return process.returncode is not None

        await asked_until(listens, bool, unless=(OSError,), patience_s=PATIENCE_S)
        if process.returncode is not None:
            errors = (await process.communicate())[1].decode()
            raise AssertionError(f"nginx did not start: {errors}")


def _listen(port: int) -> str:
    """Return the `listen` directive for TLS and HTTP/2, in the syntax of the installed version."""
    said = subprocess.run([_BINARY, "-v"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"/(\d+)\.(\d+)\.(\d+)", said)
    assert version is not None, said
    if tuple(map(int, version.groups())) >= (1, 25, 1):
        return f"listen 127.0.0.1:{port} ssl reuseport; http2 on;"
    return f"listen 127.0.0.1:{port} ssl http2 reuseport;"
