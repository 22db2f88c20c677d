"""The route table."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange import GatewayRequest
from gateway.routing import RouteEntry, RouteTable


async def handler(request: GatewayRequest) -> web.StreamResponse:
    raise AssertionError("not called")


def entry(path: str, *methods: str, hosts: tuple[str, ...] = (), name: str = "") -> RouteEntry:
    return RouteEntry(
        name=name or path,
        path=path,
        methods=frozenset(methods),
        hosts=frozenset(hosts),
        handler=handler,
        dialect="openai",
    )


def found(table: RouteTable, path: str, method: str = "GET", host: str = "h") -> Any:
    match = table.find(method, host, path)
    return match.route.name if match.route else match.allowed


def test_the_longest_path_wins_whatever_the_order() -> None:
    entries = [entry("/"), entry("/v1/"), entry("/v1/messages"), entry("/v1/messages/")]
    for listed in (entries, entries[::-1]):
        table = RouteTable(listed)
        assert found(table, "/v1/messages") == "/v1/messages"
        assert found(table, "/v1/messages/count") == "/v1/messages/"
        assert found(table, "/v1/messagesx") == "/v1/"
        assert found(table, "/x") == "/"


def test_a_prefix_ends_at_a_segment() -> None:
    table = RouteTable([entry("/v1/")])
    assert found(table, "/v1") == frozenset()
    assert found(table, "/v10/x") == frozenset()


def test_a_host_of_its_own_goes_before_any_host() -> None:
    table = RouteTable([entry("/", name="any"), entry("/", hosts=("a.test",), name="one")])
    assert found(table, "/x", host="a.test") == "one"
    assert found(table, "/x", host="b.test") == "any"


def test_another_method_says_which_are_served() -> None:
    table = RouteTable([entry("/x", "GET", "HEAD"), entry("/x", "POST", name="post")])
    assert found(table, "/x", "POST") == "post"
    assert found(table, "/x", "DELETE") == {"GET", "HEAD", "POST"}


@given(st.lists(st.text("ab/", max_size=6), max_size=50))
def test_remembering_lookups_changes_none(paths: list[str]) -> None:
    entries = [entry("/a/"), entry("/a/b"), entry("/b/")]
    table = RouteTable(entries)
    for path in paths:
        assert found(table, "/" + path) == found(RouteTable(entries), "/" + path)
