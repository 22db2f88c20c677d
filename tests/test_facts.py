"""Facts of a request: few, and each set in the part of the request path that learns it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from gateway.facts import Facts
from gateway.json_body import read

PACKAGE = Path(__file__).parents[1] / "gateway"

WRITERS = {
    "server/connection.py": {"delegated"},
    "middleware/request_id.py": {"request_id"},
    "routing/matching.py": {
        "client_ip",
        "host",
        "path",
        "query",
        "forwarded",
        "public_url",
        "route",
    },
    "middleware/auth.py": {"principal", "expires_at", "query"},
    "middleware/stream_lifetime.py": {"expires_at", "expires_with"},
    "request_body/reader.py": {"json", "decoded"},
    # The request that is copied to a shadow: an exchange of its own, made from another one.
    "middleware/mirror.py": {
        "request_id",
        "host",
        "path",
        "forwarded",
        "public_url",
        "route",
        "principal",
        "decoded",
        "model",
        "body",
        "json",
    },
    "routing/resolve.py": {"model", "query", "body", "json", "deadline"},
}
"""Facts that each file sets; an exchange is made with those known at the start. Four files change
what another one has set: authentication takes credentials out of the query, model resolution
renames the model in it, the rules of a model edit the body, and the lifetime of streams may end
before the credential does.
"""


def facts() -> set[str]:
    """Return the public fields of `Facts`."""
    names = {*Facts.__annotations__, *vars(Facts)}
    return {
        name
        for name in names
        if not name.startswith("_") and not callable(getattr(Facts, name, None))
    }


def written() -> Iterator[tuple[str, str]]:
    """Return each file that sets a fact, with the fact."""
    known = facts()
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                owner = ast.unparse(node.value)
                of_exchange = owner.endswith("exchange") or (
                    owner == "self" and file in ("exchange.py", "facts.py")
                )
                if of_exchange and node.attr in known and file != "facts.py":
                    yield file, node.attr


def test_a_request_has_at_most_twenty_facts() -> None:
    assert len(facts()) <= 20


def test_each_fact_is_set_where_it_is_learned() -> None:
    found: dict[str, set[str]] = {}
    for file, fact in written():
        found.setdefault(file, set()).add(fact)
    assert found.pop("exchange.py") == {"body", "json"}  # `let_body_go` drops them
    assert found == WRITERS


def test_an_edited_body_is_what_is_sent() -> None:
    known = Facts("POST", "192.0.2.1", trusted_peer=False)
    known.json = read(b'{"model": "a"}')
    known.json.rename("b")
    known.rewritten()
    assert known.body == b'{"model": "b"}'
