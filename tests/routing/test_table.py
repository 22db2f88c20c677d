"""The route table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline import Pipeline
from gateway.routing.table import RouteEntry, RouteTable
from tests.support.growth import kept_bytes, memory_growth

PIPELINE = cast(Pipeline, object())  # the table passes it on and asks nothing of it


def entry(path: str, *methods: str, hosts: tuple[str, ...] = (), name: str = "") -> RouteEntry:
    return RouteEntry(
        name=name or path,
        path=path,
        methods=frozenset(methods),
        hosts=frozenset(hosts),
        pipeline=PIPELINE,
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


def test_the_longest_prefix_goes_before_a_host_or_method_of_its_own() -> None:
    table = RouteTable([entry("/", "GET", hosts=("a.test",), name="own"), entry("/v1/")])
    assert found(table, "/v1/x", host="a.test") == "/v1/"
    assert found(table, "/x", host="a.test") == "own"


def test_a_method_of_its_own_goes_before_any_method() -> None:
    table = RouteTable([entry("/", name="any"), entry("/", "POST", name="post")])
    assert found(table, "/x", "POST") == "post"
    assert found(table, "/x", "GET") == "any"


def test_a_host_of_its_own_goes_before_a_method_of_its_own() -> None:
    entries = [entry("/", "GET", name="method"), entry("/", hosts=("h",), name="host")]
    for listed in (entries, entries[::-1]):
        assert found(RouteTable(listed), "/x") == "host"


def test_a_route_of_another_host_says_nothing_of_its_methods() -> None:
    table = RouteTable([entry("/x", "POST", hosts=("a.test",))])
    assert found(table, "/x", "GET", host="b.test") == frozenset()
    assert found(table, "/x", "GET", host="a.test") == {"POST"}


entries = st.builds(
    lambda path, methods, hosts: entry(path, *methods, hosts=tuple(hosts)),
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/", "/c/"]),
    st.sets(st.sampled_from(["GET", "POST"])),
    st.sets(st.sampled_from(["h", "i"])),
)


def rank(route: RouteEntry) -> tuple[bool, int, bool, bool]:
    """The more, the more specific."""
    exact = not route.path.endswith("/")
    return exact, len(route.path), bool(route.hosts), bool(route.methods)


@given(
    st.lists(entries, max_size=8),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(["h", "i", "j"]),
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/c", "/c/d"]),
)
def test_no_route_that_serves_a_request_is_more_specific_than_the_one_found(
    routes: list[RouteEntry], method: str, host: str, path: str
) -> None:
    there = [
        route
        for route in routes
        if (path.startswith(route.path) if route.path.endswith("/") else path == route.path)
        and (not route.hosts or host in route.hosts)
    ]
    serving = [route for route in there if not route.methods or method in route.methods]
    match = RouteTable(routes).find(method, host, path)
    if serving:
        assert match.route in serving
        assert match.route is not None
        assert rank(match.route) == max(map(rank, serving))
    else:
        assert match.route is None
        assert match.allowed == frozenset().union(*(route.methods for route in there))


def test_what_clients_make_it_remember_is_bounded() -> None:
    def lookups() -> Callable[[int], object]:
        table = RouteTable([entry("/a/")])
        return lambda number: found(table, f"/a/{number}")

    assert memory_growth(lookups, 4096) < 1.5


def test_long_paths_are_not_remembered() -> None:
    table = RouteTable([entry("/a/")])
    assert kept_bytes(lambda number: found(table, f"/a/{number:04000}"), 1000) < 1_000_000
