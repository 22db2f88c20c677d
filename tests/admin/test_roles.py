"""Roles: one table names the least role for each route, and the gateway keeps to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.roles import LEAST, OPEN, OperatorRole, least_role, role_of
from tests.support.admin import admin
from tests.support.admin_application import application
from tests.support.gateway import StartGatewayProcess, simple_config

TOKENS = {"viewer": "look-3f9a", "operator": "act-81bc", "admin": "all-77de"}
BY_ROLE = {"viewer": ("v", "all"), "operator": ("o",), "admin": ("a", "all")}


async def test_every_route_of_the_listener_is_in_the_table_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = set()
    for route in (await application(tmp_path, monkeypatch)).router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        if route.method != "HEAD":
            served.add((route.method, "/static" if path.startswith("/static/") else path))
    assert served == {*LEAST, *OPEN}


def test_a_route_without_an_entry_needs_an_admin() -> None:
    assert least_role("GET", "/api/new") is OperatorRole.ADMIN
    assert least_role("DELETE", "/livez") is OperatorRole.ADMIN
    assert least_role("HEAD", "/api/now") is OperatorRole.VIEWER
    assert least_role("GET", "/livez") is None


def test_reading_needs_a_viewer_and_every_change_at_least_an_operator() -> None:
    for (method, path), role in LEAST.items():
        if method != "GET":
            assert role >= OperatorRole.OPERATOR, path


def test_a_person_has_the_highest_role_of_all_groups() -> None:
    assert role_of(["v", "o"], BY_ROLE) is OperatorRole.OPERATOR
    assert role_of(["all"], BY_ROLE) is OperatorRole.ADMIN
    assert role_of(["A", "va", ""], BY_ROLE) is None
    assert (
        role_of([str(number) for number in range(10_000)] + ["v"], BY_ROLE) is OperatorRole.VIEWER
    )


@given(st.sets(st.text()), st.sets(st.text()))
def test_more_groups_never_lower_a_role(some: set[str], more: set[str]) -> None:
    before, after = role_of(some, BY_ROLE), role_of(some | more, BY_ROLE)
    assert (after or 0) >= (before or 0)


async def test_each_role_reaches_what_the_table_gives_it_and_nothing_else(
    start_gateway_process: StartGatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", TOKENS["admin"])
    tokens = {
        name: {"sha256": hashlib.sha256(token.encode()).hexdigest(), "role": name}
        for name, token in TOKENS.items()
        if name != "admin"
    }
    options = {"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}, "tokens": tokens}
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"), admin=options)
    for (method, path), least in LEAST.items():
        if path == "/api/events":
            continue  # never ends
        address = path.replace("{id}", "x").replace("{name}", "x").replace("{path}", "x")
        for role in OperatorRole:
            line = f"Authorization: Bearer {TOKENS[role.word]}"
            response = await admin(gateway, method, address, None, line)
            if role < least:
                assert response.status == 403, (method, path, role)
                document = response.json()
                assert (document["needs"], document["role"]) == (least.word, role.word)
            else:
                assert response.status not in (401, 403), (method, path, role)
        assert (await admin(gateway, method, address)).status == 401
    line = f"Authorization: Bearer {TOKENS['viewer']}"
    for method, path in (("GET", "/api/nothing"), ("POST", "/api/now")):
        assert (await admin(gateway, method, path, None, line)).status in (404, 405), path
