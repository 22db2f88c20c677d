"""What a reload changed: by its place in the file, in its units, without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.admin.config_changes import Change, changes
from gateway.admin.masked_config import masked
from gateway.config import Config, load_text
from tests.support.gateway import config_text, simple_config

URL = "http://127.0.0.1:1"


def config(folder: Path, upstream: dict[str, Any] | None = None, **sections: Any) -> Config:
    document = simple_config(URL, upstream=upstream or {})
    return load_text(config_text({**document, **sections}, {}), base=folder)


def route(name: str, **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "path": f"/{name}/",
        "auth": "anonymous",
        "upstream": "main",
        **options,
    }


def test_a_value_is_told_with_its_place_and_in_the_units_of_the_file(tmp_path: Path) -> None:
    before = config(tmp_path, server={"max_memory": "100MiB"})
    after = config(tmp_path, {"timeouts": {"idle": "90s"}}, server={"max_memory": "2GiB"})
    found = changes(before, after)
    assert Change("server.max_memory", "100MiB", "2GiB") in found
    assert [one.after for one in found if one.path.startswith("upstreams.main.timeouts")] in (
        [{"idle": "90s"}],
        ["90s"],
    )
    assert changes(before, config(tmp_path, server={"max_memory": "100MiB"})) == []


def test_items_of_lists_are_told_apart_by_their_names(tmp_path: Path) -> None:
    one, two, three = (route(name) for name in ("one", "two", "three"))
    before = config(tmp_path, routes=[one, two])
    after = config(tmp_path, routes=[three, two | {"timeouts": {"idle": "3m"}}])
    found = {change.path: (change.before, change.after) for change in changes(before, after)}
    assert found.pop("routes[one]") == (one | {"auth": found_auth(before)}, None)
    assert found.pop("routes[three]")[0] is None
    assert list(found) in (["routes[two].timeouts"], ["routes[two].timeouts.idle"])


def found_auth(config: Config) -> Any:
    return masked(config, only_set=True)["routes"][0]["auth"]


def test_the_order_of_routes_is_a_difference_of_its_own(tmp_path: Path) -> None:
    one, two = route("one"), route("two")
    found = changes(config(tmp_path, routes=[one, two]), config(tmp_path, routes=[two, one]))
    assert found == [Change("routes (order)", ["one", "two"], ["two", "one"])]


def test_a_changed_secret_is_told_without_its_value(tmp_path: Path) -> None:
    def loaded(token: str, header: str, password: str) -> Config:
        (tmp_path / "token").write_text(token)
        return config(
            tmp_path,
            {"headers": {"X-Key": header}},
            admin={"token": {"file": "token"}},
            store={"url": f"redis://:{password}@127.0.0.1:6379/0"},
        )

    before = loaded("canary-token-1", "canary-header-1", "canary-password-1")
    after = loaded("canary-token-2", "canary-header-2", "canary-password-2")
    found = changes(before, after)
    assert {change.path for change in found} == {
        *("admin.token", "store.url", "upstreams.main.headers.X-Key")
    }
    assert all(change.secret and change.before == change.after for change in found)
    assert "canary" not in repr(found)
    assert changes(after, after) == []
