"""Checks of identity providers: their keys and their clock."""

from __future__ import annotations

import pytest

from gateway.demo import DemoBackend
from tests.support.doctor import Doctor, of, one_model
from tests.support.issuer import Issuer
from tests.support.sign_in_issuer import SignInIssuer


async def test_an_issuer_is_asked_for_its_keys(doctor: Doctor, backend: DemoBackend) -> None:
    async with Issuer() as issuer:
        issuer.add_key("a")
        config = one_model(backend.url) | {"auth": issuer.provider()}
        assert of(await doctor(config), "its keys are here")["verdict"] == "ok"
        issuer.mode = "500"
        found = of(await doctor(config), "cannot fetch keys")
    assert (found["subject"], found["verdict"]) == ("auth.corp", "failed")


async def test_the_issuer_of_operators_is_asked_for_its_endpoints_and_keys(
    doctor: Doctor, backend: DemoBackend
) -> None:
    async with SignInIssuer() as issuer:
        admin = {"listen": "127.0.0.1:0", "sign_in": issuer.sign_in()}
        config = one_model(backend.url) | {"admin": admin}
        found = of(await doctor(config), "its keys are here")
        assert (found["subject"], found["verdict"]) == ("admin.sign_in", "ok")
        issuer.public = {"token_endpoint": "http://evil.example/token"}
        found = of(await doctor(config), "nobody can sign in")
    assert (found["subject"], found["verdict"]) == ("admin.sign_in", "failed")
    assert "token_endpoint is not an https URL" in found["text"]


@pytest.mark.parametrize(
    ("ahead_s", "verdict"), [(0, "ok"), (45, "warning"), (-45, "warning"), (300, "failed")]
)
async def test_the_issuers_clock_is_compared_with_ours(
    doctor: Doctor, backend: DemoBackend, ahead_s: int, verdict: str
) -> None:
    async with Issuer() as issuer:
        issuer.add_key("a")
        issuer.ahead_s = ahead_s
        config = one_model(backend.url) | {"auth": issuer.provider()}
        findings = await doctor(config)
    assert of(findings, "this machine's differ by")["verdict"] == verdict
