"""The name, the connection and the certificate of a server."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from tests.support.doctor import LISTING, Doctor, of, one_model


async def tls_backend(aiohttp_server: AiohttpServer, certificate: trustme.LeafCert) -> str:
    """Start a backend with this certificate. Return its URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def models(_: web.Request) -> web.Response:
        return web.json_response(LISTING)

    application = web.Application()
    application.router.add_get("/v1/models", models)
    server = await aiohttp_server(application, ssl=context)
    return f"https://localhost:{server.port}"


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_is_verified_as_the_gateway_does(
    doctor: Doctor, aiohttp_server: AiohttpServer, tmp_path: Path, trusted: bool
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    url = await tls_backend(aiohttp_server, authority.issue_cert("localhost"))
    findings = await doctor(one_model(url, tls={"ca": "ca.pem"}))
    if trusted:
        assert of(findings, "its certificate expires in")["verdict"] == "ok"
        assert of(findings, "vLLM, 1 model(s)")["verdict"] == "ok"
    else:
        assert "tls.ca" in of(findings, "certificate is not accepted")["remedy"]


async def test_a_name_that_does_not_exist_is_told_with_a_remedy(doctor: Doctor) -> None:
    found = of(await doctor(one_model("http://no-such-host.invalid")), "upstreams.main")
    assert found["text"].startswith("the name no-such-host.invalid is not found")
    assert "resolver" in found["remedy"]


async def test_a_certificate_that_expires_soon_is_a_warning(
    doctor: Doctor, aiohttp_server: AiohttpServer, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    soon = datetime.now(UTC) + timedelta(days=3)
    certificate = authority.issue_cert("localhost", not_after=soon)
    url = await tls_backend(aiohttp_server, certificate)
    found = of(await doctor(one_model(url, tls={"ca": "ca.pem"})), "certificate expires")
    assert (found["verdict"], found["remedy"][:8]) == ("warning", "renew it")
