"""Who may come in: tokens, sessions, and pages of other origins."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.admin.auth import SESSION_S, AdminAuth

TOKEN = b"canary7f3a"


class Clock:
    """Seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def asked(method: str = "GET", **headers: str) -> web.Request:
    """A request; underscores in names stand for hyphens."""
    given = {"Host": "admin.test:9090"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return make_mocked_request(method, "/api/x", headers=given)


def signed_in(auth: AdminAuth, **headers: str) -> SimpleCookie:
    """The cookie of a new session."""
    response = web.Response()
    assert auth.sign_in(asked("POST", **headers), TOKEN.decode(), response)
    return response.cookies


def shown(cookies: SimpleCookie) -> str:
    """As a browser sends it."""
    return "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())


def test_a_session_stands_for_the_token_until_it_is_over() -> None:
    clock = Clock()
    auth = AdminAuth(TOKEN, now=clock)
    cookie = shown(signed_in(auth))
    assert auth.refusal(asked()) == (401, "a token is needed: Authorization: Bearer ...")
    assert auth.refusal(asked(Cookie=cookie)) is None
    clock.now += SESSION_S - 1
    assert auth.refusal(asked(Cookie=cookie)) is None
    clock.now += 2
    assert auth.refusal(asked(Cookie=cookie)) is not None


def test_the_cookie_is_no_scripts_business_and_says_nothing_of_the_token() -> None:
    (morsel,) = signed_in(AdminAuth(TOKEN)).values()
    assert morsel.key == "gateway_session_9090"
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Strict", "/")
    assert not morsel["secure"]
    assert TOKEN.decode() not in morsel.value
    (over_tls,) = signed_in(AdminAuth(TOKEN), Origin="https://admin.test:9090").values()
    assert over_tls["secure"]


def test_another_token_opens_nothing() -> None:
    auth, response = AdminAuth(TOKEN), web.Response()
    for token in ("", "canary7f3", "canary7f3aa", "\udcff"):
        assert not auth.sign_in(asked("POST"), token, response)
    assert not response.cookies
    assert not AdminAuth(None).sign_in(asked("POST"), "", response)


def test_a_session_changes_things_only_where_the_browser_says_from_where() -> None:
    auth = AdminAuth(TOKEN)
    cookie = shown(signed_in(auth))
    for method in ("POST", "DELETE"):
        refused = auth.refusal(asked(method, Cookie=cookie))
        assert refused is not None
        assert refused[0] == 403
        assert auth.refusal(asked(method, Cookie=cookie, Origin="http://admin.test:9090")) is None
    # A program has no cookie, and needs no origin.
    assert auth.refusal(asked("POST", Authorization="Bearer canary7f3a")) is None


def test_whoever_leaves_is_out_everywhere() -> None:
    auth = AdminAuth(TOKEN)
    one, other = shown(signed_in(auth)), shown(signed_in(auth))
    auth.sign_out(asked("DELETE", Cookie=one), web.Response())
    assert auth.refusal(asked(Cookie=one)) is not None
    assert auth.refusal(asked(Cookie=other)) is None


def test_sessions_are_bounded_and_the_oldest_goes() -> None:
    auth = AdminAuth(TOKEN)
    request, cookies = asked("POST"), []  # a mocked request takes 5 ms
    for _ in range(1001):
        response = web.Response()
        assert auth.sign_in(request, TOKEN.decode(), response)
        cookies.append(shown(response.cookies))
    assert auth.refusal(asked(Cookie=cookies[0])) is not None
    assert auth.refusal(asked(Cookie=cookies[1])) is None
    assert auth.refusal(asked(Cookie=cookies[-1])) is None


def test_what_is_from_another_origin_is_seen() -> None:
    auth = AdminAuth(TOKEN)
    for origin in ("https://evil.test", "http://admin.test", "null", "http://admin.test:90"):
        assert auth.refused_origin(asked(Origin=origin)) is not None
    assert auth.refused_origin(asked(Origin="http://admin.test:9090")) is None
    assert auth.refused_origin(asked()) is None


def test_wrong_tokens_wait_for_one_another_and_the_first_few_do_not() -> None:
    clock = Clock()
    auth = AdminAuth(TOKEN, now=clock)
    assert [auth.delay_s("a") for _ in range(5)] == pytest.approx([0.0] * 5)
    delays = [auth.delay_s(f"192.0.2.{number}") for number in range(200)]  # from everywhere
    assert delays[0] > 0
    assert delays == sorted(delays)
    assert max(delays) == 10.0
    clock.now += 60
    assert auth.delay_s("a") == 0.0


def test_wrong_tokens_are_reported_now_and_then() -> None:
    clock, told = Clock(), []
    auth = AdminAuth(TOKEN, now=clock, report=lambda client, count: told.append((client, count)))
    for _ in range(100):
        auth.delay_s("192.0.2.1")
    clock.now += 10
    auth.delay_s("192.0.2.2")
    assert told == [("192.0.2.1", 1), ("192.0.2.2", 100)]
