"""The files of the dashboard: how they are served, and what is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from gateway.admin.pages import FOLDER, Pages
from gateway.admin.views import VIEWS

Client = TestClient[web.Request, web.Application]
NPM = Path(__file__).parents[1] / "node/node_modules/uplot"
OWN = [
    path
    for path in sorted(FOLDER.rglob("*"))
    if path.suffix in (".html", ".css", ".js") and "vendor" not in path.parts
]


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    app = web.Application()
    app.add_routes(Pages().routes())
    return await aiohttp_client(app)


@pytest.mark.parametrize("path", [path.replace("{id}", "abc") for path in VIEWS])
async def test_every_view_has_an_address_and_a_strict_policy(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status == 200
    assert response.content_type == "text/html"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cache-Control"] == "no-cache"


async def test_a_document_that_did_not_change_is_not_sent_again(client: Client) -> None:
    tag = (await client.get("/")).headers["ETag"]
    again = await client.get("/", headers={"If-None-Match": tag})
    assert (again.status, await again.read()) == (304, b"")
    assert (await client.get("/", headers={"If-None-Match": '"other"'})).status == 200


async def test_everything_the_document_names_is_there_and_kept_for_ever(client: Client) -> None:
    names = re.findall(r'(?:href|src)="(/static/[^"]+)"', await (await client.get("/")).text())
    assert len(names) > 15  # every module, so that they come in one round trip
    for name in names:
        response = await client.get(name)
        assert response.status == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        plain = await client.get(name, headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        assert response.headers["Content-Encoding"] == "gzip"
        assert await plain.read() == await response.read()
    base = names[0].rpartition("/icon")[0]
    for name in ("nothing.js", "../api.py", "%2e%2e/api.py", "index.html"):
        assert (await client.get(f"{base}/{name}")).status == 404


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_of_ours_asks_another_host_or_needs_a_laxer_policy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    allowed = ("http://www.w3.org/2000/svg",)
    assert [url for url in re.findall(r"https?://[^\s\"'`)]+", text) if url not in allowed] == []
    dangerous = r"\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write"
    assert not re.search(dangerous, text)
    if path.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


def test_what_is_vendored_is_the_package_byte_for_byte() -> None:
    vendored = {
        "uPlot.iife.min.js": NPM / "dist/uPlot.iife.min.js",
        "uPlot.min.css": NPM / "dist/uPlot.min.css",
        "uPlot.LICENSE.txt": NPM / "LICENSE",
    }
    assert {path.name for path in (FOLDER / "vendor").iterdir()} == set(vendored)
    for name, original in vendored.items():
        assert (FOLDER / "vendor" / name).read_bytes() == original.read_bytes(), name
