"""Authentication of the admin listener: tokens, sessions, and pages of other origins."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from aiohttp import web

from gateway.admin.access import Access
from gateway.admin.auth import AccessRefused, AdminAuth
from gateway.admin.operator import Operator
from gateway.admin.roles import OperatorRole
from gateway.routing.forwarded import TrustedProxies
from tests.support.operators import (
    TOKEN,
    Clock,
    FailingStore,
    admin_auth,
    asked,
    cookie_line,
    token_access,
)

_TOKEN_SESSION_S = 12 * 3600.0
OWN = "http://admin.test:9090"


async def signed_in(auth: AdminAuth, **headers: str) -> SimpleCookie:
    """Begin a session with the token. Return its cookie."""
    response = web.Response()
    assert await auth.sign_in(asked("POST", **headers), TOKEN.decode(), response)
    return response.cookies


async def refusal(auth: AdminAuth, request: web.Request) -> tuple[int, str] | None:
    """Return status and reason of a refusal; None if the request is admitted."""
    try:
        await auth.identify(request)
    except AccessRefused as exc:
        return exc.status, exc.reason
    return None


async def test_a_session_stands_for_the_token_until_it_is_over() -> None:
    clock = Clock()
    auth = admin_auth(clock=clock)
    cookie = cookie_line(await signed_in(auth))
    assert await refusal(auth, asked()) == (401, "a token is needed: Authorization: Bearer ...")
    assert await refusal(auth, asked(Cookie=cookie)) is None
    clock.now += _TOKEN_SESSION_S / 2
    assert await refusal(auth, asked(Cookie=cookie)) is None
    clock.now += _TOKEN_SESSION_S / 2 - 1
    assert await refusal(auth, asked(Cookie=cookie)) is None
    clock.now += 2
    assert await refusal(auth, asked(Cookie=cookie)) is not None


async def test_the_cookie_is_hidden_from_scripts_and_does_not_contain_the_token() -> None:
    (morsel,) = (await signed_in(admin_auth())).values()
    assert morsel.key == "gateway_session_9090"
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Strict", "/")
    assert not morsel["secure"]
    assert TOKEN.decode() not in morsel.value


async def test_over_https_only_a_cookie_of_the_host_itself_counts() -> None:
    auth = admin_auth()
    (morsel,) = (await signed_in(auth, Origin="https://admin.test:9090")).values()
    assert morsel["secure"]
    assert morsel.key == "__Host-gateway_session_9090"
    assert not morsel["domain"]
    assert await refusal(auth, asked(Cookie=f"{morsel.key}={morsel.value}")) is None
    # Another host of the domain can set a cookie without the prefix, and so its own session.
    plain = f"gateway_session_9090={morsel.value}"
    over_tls = asked(Cookie=plain, Origin="https://admin.test:9090")
    assert await refusal(auth, over_tls) is not None
    auth.access = Access(auth.access.tokens, public_urls=("https://admin.test:9090",))
    assert await refusal(auth, asked(Cookie=plain)) is not None


async def test_another_token_opens_nothing() -> None:
    auth, response = admin_auth(), web.Response()
    for token in ("", "canary7f3", "canary7f3aa", "\udcff"):
        assert not await auth.sign_in(asked("POST"), token, response)
    for token in ("", "canary7f3", "canary7f3aa"):
        assert await refusal(auth, asked(Authorization=f"Bearer {token}")) is not None
    assert not response.cookies


async def test_each_token_has_its_name_and_role() -> None:
    tokens = {TOKEN: ("ci", OperatorRole.OPERATOR), b"two": ("prom", OperatorRole.VIEWER)}
    auth = admin_auth(token_access(tokens))
    found = await auth.identify(asked(Authorization="Bearer two"))
    assert found == Operator("prom", "token", OperatorRole.VIEWER, found.address)
    cookie = cookie_line(await signed_in(auth))
    session = await auth.identify(asked(Cookie=cookie))
    assert (session.name, session.how, session.role) == ("ci", "session", OperatorRole.OPERATOR)


async def test_a_token_that_is_withdrawn_ends_its_sessions_and_another_role_takes_effect() -> None:
    auth = admin_auth()
    cookie = cookie_line(await signed_in(auth))
    auth.access = token_access({TOKEN: ("admin", OperatorRole.VIEWER)})
    assert (await auth.identify(asked(Cookie=cookie))).role is OperatorRole.VIEWER
    auth.access = token_access({b"another": ("admin", OperatorRole.ADMIN)})
    assert await refusal(auth, asked(Cookie=cookie)) is not None


async def test_a_session_changes_things_only_where_the_browser_says_from_where() -> None:
    auth = admin_auth()
    cookie = cookie_line(await signed_in(auth))
    for method in ("POST", "DELETE"):
        refused = await refusal(auth, asked(method, Cookie=cookie))
        assert refused is not None
        assert refused[0] == 403
        assert await refusal(auth, asked(method, Cookie=cookie, Origin=OWN)) is None
    # A program has no cookie, and needs no origin.
    assert await refusal(auth, asked("POST", Authorization="Bearer canary7f3a")) is None


async def test_a_session_that_is_left_is_over_everywhere() -> None:
    auth = admin_auth()
    one, other = cookie_line(await signed_in(auth)), cookie_line(await signed_in(auth))
    await auth.sign_out(asked("DELETE", Cookie=one), web.Response())
    assert await refusal(auth, asked(Cookie=one)) is not None
    assert await refusal(auth, asked(Cookie=other)) is None


async def test_a_new_session_replaces_the_one_that_the_browser_had() -> None:
    auth = admin_auth()
    old = cookie_line(await signed_in(auth))
    new = cookie_line(await signed_in(auth, Cookie=old))
    assert new != old
    assert await refusal(auth, asked(Cookie=old)) is not None
    assert await refusal(auth, asked(Cookie=new)) is None


async def test_while_the_store_is_away_known_sessions_go_on_and_tokens_work() -> None:
    clock = Clock()
    store = FailingStore(clock)
    auth = admin_auth(clock=clock, store=store)
    known, unknown = [cookie_line(await signed_in(auth)) for _ in range(2)]
    assert await refusal(auth, asked(Cookie=known)) is None
    store.away = True
    clock.now += 60
    assert await refusal(auth, asked(Cookie=known)) is None
    refused = await refusal(auth, asked(Cookie=unknown))
    assert refused is not None
    assert refused[0] == 503
    assert await refusal(auth, asked(Authorization="Bearer canary7f3a")) is None


def test_what_is_from_another_origin_is_seen() -> None:
    auth = admin_auth()
    for origin in ("https://evil.test", "http://admin.test", "null", "http://admin.test:90"):
        assert auth.refused_origin(asked(Origin=origin)) is not None
    assert auth.refused_origin(asked(Origin=OWN)) is None
    assert auth.refused_origin(asked()) is None


async def test_without_tokens_and_sign_in_only_localhost_is_answered() -> None:
    auth = admin_auth(Access())
    assert (await auth.identify(asked(Host="localhost:9090"))).role is OperatorRole.ADMIN
    refused = await refusal(auth, asked(Host="rebound.test:9090"))
    assert refused is not None
    assert refused[0] == 403


def test_the_address_behind_a_trusted_proxy_is_that_of_its_client() -> None:
    auth = admin_auth()
    request = asked(X_Forwarded_For="203.0.113.7").clone(remote="127.0.0.1")
    assert auth.address(request) == "127.0.0.1"
    auth.proxies = TrustedProxies(["127.0.0.0/8"])
    assert auth.address(request) == "203.0.113.7"


def test_wrong_tokens_wait_for_one_another_and_the_first_few_do_not() -> None:
    clock = Clock()
    auth = admin_auth(clock=clock)
    assert [auth.delay_s("a") for _ in range(5)] == pytest.approx([0.0] * 5)
    delays = [auth.delay_s(f"192.0.2.{number}") for number in range(200)]  # from everywhere
    assert delays[0] > 0
    assert delays == sorted(delays)
    assert max(delays) == 10.0
    clock.now += 60
    assert auth.delay_s("a") == 0.0


def test_wrong_tokens_are_reported_now_and_then() -> None:
    clock, told = Clock(), []
    auth = admin_auth(clock=clock)
    auth = AdminAuth(
        auth.access,
        auth.sessions,
        now=clock,
        report=lambda client, count: told.append((client, count)),
    )
    for _ in range(100):
        auth.delay_s("192.0.2.1")
    clock.now += 10
    auth.delay_s("192.0.2.2")
    assert told == [("192.0.2.1", 1), ("192.0.2.2", 100)]
