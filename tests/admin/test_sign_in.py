"""Sign-in of operators at an issuer, over sockets: what it grants, and every way to abuse it."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from yarl import URL

from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess
from tests.support.issuer import Issuer
from tests.support.sign_in_browser import (
    TOKEN,
    Browser,
    audit,
    sign_in_config,
    sign_in_options,
)
from tests.support.sign_in_issuer import CLIENT_ID, SignInIssuer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_issuer() -> AsyncIterator[SignInIssuer]:
    async with SignInIssuer() as issuer:
        yield issuer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    one_issuer: SignInIssuer, tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer
) -> AsyncIterator[GatewayProcess]:
    """Gateway that tests do not change."""
    folder = tmp_path_factory.mktemp("sign-in")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ADMIN_TOKEN", TOKEN)
        running = GatewayProcess(
            sign_in_config(folder),
            {"admin": sign_in_options(one_issuer)},
            folder / "g.yaml",
            fork_server=fork_server,
        )
        await running.start()
        yield running
        await running.stop()
    assert b"Traceback" not in running.errors, running.errors.decode()


@pytest.fixture
def issuer(one_issuer: SignInIssuer) -> SignInIssuer:
    """The issuer, as it was before any test."""
    fresh = SignInIssuer()
    for name in ("person", "userinfo", "answer", "public", "token_status"):
        setattr(one_issuer, name, getattr(fresh, name))
    one_issuer.make_token = lambda claims: one_issuer.token("k", **claims)
    one_issuer.exchanged.clear()
    return one_issuer


@pytest_asyncio.fixture(loop_scope="module")
async def browser(gateway: GatewayProcess) -> AsyncIterator[Browser]:
    one = Browser(gateway)
    yield one
    await one.http.close()


async def test_a_person_signs_in_with_the_role_of_the_groups_and_signs_out(
    gateway: GatewayProcess, issuer: SignInIssuer, browser: Browser
) -> None:
    assert (await browser.session())["issuer"] == "127.0.0.1"
    url = await browser.begin("?return_to=/upstreams%3Fa%3D1")
    asked = {name: one[0] for name, one in parse_qs(urlsplit(url).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{browser.url}/sign-in/callback"
    assert "openid" in asked["scope"].split()
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    status, _, response = await browser.get(await browser.back(url))
    assert (status, response.headers["Location"]) == (303, f"{browser.url}/upstreams?a=1")
    assert response.headers["Referrer-Policy"] == "no-referrer"
    session = await browser.session()
    assert session["admitted"]
    assert (session["name"], session["role"]) == ("ann@example.com", "operator")
    assert (await browser.get("/api/upstreams"))[0] == 200
    assert (await browser.send("POST", "/api/reload"))[0] == 200
    status, document = await browser.send("PUT", "/api/teams/x")
    assert (status, document["needs"]) == (403, "admin")
    cookies = {one.key: one.value for one in browser.http.cookie_jar}
    status, document = await browser.send("DELETE", "/api/session")
    there = urlsplit(document["end_session_url"])
    assert there.path == "/bye"
    assert {"client_id", "id_token_hint", "post_logout_redirect_uri"} <= set(parse_qs(there.query))
    assert not (await browser.session())["admitted"]
    # A session that has ended is none, whoever kept its cookie.
    browser.http.cookie_jar.update_cookies(cookies, URL(browser.url))
    assert (await browser.get("/api/upstreams"))[0] == 401
    actions = [(one["action"], one["who"], one["role"]) for one in await audit(gateway, who="ann@")]
    assert actions[:4] == [
        ("signed_out", "ann@example.com", "operator"),
        ("request_refused", "ann@example.com", "operator"),
        ("config_reloaded", "ann@example.com", "operator"),
        ("signed_in", "ann@example.com", "operator"),
    ]


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["owners", "ops"], "admin"),
        ("readers", "viewer"),
        ([*map(str, range(10_000)), "ops"], "operator"),
        ("ops readers", None),
        (["OPS"], None),
        (None, None),
        ({"ops": True}, None),
        ([["ops"], 1, None], None),
        (True, None),
    ],
)
async def test_groups_decide_whatever_the_shape_of_their_claim(
    issuer: SignInIssuer, browser: Browser, groups: Any, role: str | None
) -> None:
    issuer.person["groups"] = groups
    status, body, _ = await browser.sign_in()
    if role is not None:
        assert status == 303
        assert (await browser.session())["role"] == role
    else:
        assert status == 403
        assert "none of your groups has a role" in body
        assert not (await browser.session())["admitted"]


async def test_groups_that_the_issuer_left_out_are_told(
    issuer: SignInIssuer, browser: Browser
) -> None:
    issuer.person |= {"groups": None, "_claim_names": {"groups": "src1"}}
    status, body, _ = await browser.sign_in()
    assert status == 403
    assert "because they are too many" in body


async def test_groups_come_from_the_userinfo_endpoint_if_the_id_token_lacks_them(
    issuer: SignInIssuer, browser: Browser
) -> None:
    del issuer.person["groups"]
    issuer.userinfo = {"groups": ["owners"]}
    assert (await browser.sign_in())[0] == 303
    assert (await browser.session())["role"] == "admin"
    issuer.userinfo = {"groups": ["owners"], "sub": "somebody-else"}
    assert (await browser.sign_in())[0] == 502


async def test_a_forged_or_foreign_state_is_refused(
    issuer: SignInIssuer, browser: Browser, gateway: GatewayProcess
) -> None:
    back = await browser.back(await browser.begin())
    for state in ("", "forged", "A" * 43, "%ff"):
        status, body, _ = await browser.get(re.sub("state=[^&]*", f"state={state}", back))
        assert status == 400, state
        assert state == "" or state not in body
    other = Browser(gateway)
    try:
        # The code of one browser in another one: login CSRF.
        status, body, _ = await other.get(back)
        assert (status, "not begun in this browser" in body) == (400, True)
        await other.begin()
        assert (await other.get(back))[0] == 400
    finally:
        await other.http.close()
    assert not issuer.exchanged
    assert (await browser.get(back))[0] == 303  # still there for its own browser


async def test_a_code_is_accepted_once(issuer: SignInIssuer, browser: Browser) -> None:
    back = await browser.back(await browser.begin())
    assert (await browser.get(back))[0] == 303
    assert (await browser.get(back))[0] == 400
    assert len(issuer.exchanged) == 1


async def test_two_tabs_sign_in_at_once(issuer: SignInIssuer, browser: Browser) -> None:
    one, two = await browser.begin("?return_to=/limits"), await browser.begin("?return_to=/keys")
    back_one, back_two = await browser.back(one), await browser.back(two)
    status, _, response = await browser.get(back_two)
    assert (status, urlsplit(response.headers["Location"]).path) == (303, "/keys")
    status, _, response = await browser.get(back_one)
    assert (status, urlsplit(response.headers["Location"]).path) == (303, "/limits")
    assert (await browser.session())["admitted"]


@pytest.mark.parametrize("named", ["https://evil.example", "", None])
async def test_the_answer_of_another_issuer_is_refused_before_its_code_is_sent(
    issuer: SignInIssuer, browser: Browser, named: str | None
) -> None:
    def mixed_up(answer: dict[str, str]) -> dict[str, str]:
        del answer["iss"]
        return answer if named is None else {**answer, "iss": named}

    issuer.answer = mixed_up
    assert (await browser.sign_in())[0] == 400
    assert not issuer.exchanged
    assert not (await browser.session())["admitted"]


async def test_id_tokens_that_are_forged_or_for_another_are_refused(
    issuer: SignInIssuer, browser: Browser, gateway: GatewayProcess
) -> None:
    pem = issuer.public_key("k").public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    other = Issuer()
    other.add_key("k", "RS256")

    def unsigned(claims: dict[str, Any]) -> str:
        return jwt.encode(issuer.claims(**claims), "", algorithm="none", headers={"kid": "k"})

    def by_public_key(claims: dict[str, Any]) -> str:
        def part(document: dict[str, Any]) -> bytes:
            return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")

        signed = part({"alg": "HS256", "kid": "k"}) + b"." + part(issuer.claims(**claims))
        mac = base64.urlsafe_b64encode(hmac.digest(pem, signed, "sha256")).rstrip(b"=")
        return (signed + b"." + mac).decode()

    def signed(**changes: Any) -> Any:
        return lambda claims: issuer.token("k", **{**claims, **changes})

    wrong = {
        "alg none": unsigned,
        "HS256 with the public key": by_public_key,
        "another key": lambda claims: other.token("k", **{"iss": issuer.url, **claims}),
        "another issuer": signed(iss="https://evil.example"),
        "another audience": signed(aud="another"),
        "several audiences without azp": signed(aud=[CLIENT_ID, "another"]),
        "another azp": signed(aud=[CLIENT_ID, "another"], azp="another"),
        "another nonce": signed(nonce="another"),
        "no nonce": signed(nonce=None),
        "expired": signed(exp=1_000_000_000),
        "from the future": signed(nbf=4_000_000_000),
        "no subject": signed(sub=""),
        "no token": lambda _: "not.a.token",
    }
    for what, make in wrong.items():
        issuer.make_token = make
        status, body, _ = await browser.sign_in()
        assert status == 403, what
        assert "evil" not in body
        assert not (await browser.session())["admitted"], what
    issuer.make_token = signed(aud=[CLIENT_ID, "another"], azp=CLIENT_ID)
    assert (await browser.sign_in())[0] == 303
    reasons = [one["reason"] for one in await audit(gateway, action="sign_in_refused")]
    assert any(reason.startswith("ID token: ") for reason in reasons)


async def test_errors_of_the_issuer_are_one_sentence_without_their_text(
    issuer: SignInIssuer, browser: Browser
) -> None:
    for code, words in (
        ("access_denied", "did not let you in"),
        ("temporarily_unavailable", "overloaded"),
        ("<script>alert(1)</script>", "does not know"),
    ):
        issuer.answer = lambda answer, code=code: {  # type: ignore[misc]
            "error": code,
            "error_description": "<b>canary7f3a</b>",
            "state": answer["state"],
            "iss": answer["iss"],
        }
        status, body, response = await browser.sign_in()
        assert status == 403
        assert words in body
        assert "canary7f3a" not in body
        assert "alert(1)" not in body
        assert "unsafe" not in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example"),
        *("/%09/evil.example", "javascript:alert(1)", "/api/session", "/sign-in", "", "evil"),
        "/a\r\nSet-Cookie: a=b",
    ],
)
async def test_nobody_is_sent_elsewhere_after_the_sign_in(
    issuer: SignInIssuer, browser: Browser, target: str
) -> None:
    query = f"?return_to={quote(target, safe='')}"
    status, _, response = await browser.sign_in(query)
    assert status == 303
    there = urlsplit(response.headers["Location"])
    assert f"{there.scheme}://{there.netloc}" == browser.url
    if target != "/%09/evil.example":
        assert there.path == "/"
    assert "Set-Cookie: a=b" not in str(response.headers)


async def test_a_host_that_is_not_configured_is_not_sent_to_the_issuer(
    issuer: SignInIssuer, browser: Browser
) -> None:
    status, body, response = await browser.get("/sign-in", Host="evil.example")
    assert status == 400
    assert "evil" not in body
    assert "Location" not in response.headers
