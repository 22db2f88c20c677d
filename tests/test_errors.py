"""The error tree and its documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import errors
from gateway.error_meanings import meanings

ROOT = Path(__file__).parents[1]


def codes() -> set[str]:
    """Every code in the source: those of classes, and those given where an error is raised."""
    found = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.GatewayError)
    }
    for file in (ROOT / "gateway").rglob("*.py"):
        if "demo" not in file.parts:
            found |= set(re.findall(r'\bcode="(\w+)"', file.read_text()))
    return found - {"upstream_error"}  # only its kinds are raised


def test_every_code_is_documented_and_no_other() -> None:
    documented = [one.code for one in meanings()]
    assert set(documented) == codes()
    assert len(set(documented)) == len(documented)


def test_every_class_has_a_status_a_code_and_a_sentence() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.GatewayError):
            assert 400 <= kind.status <= 599
            assert re.fullmatch(r"[a-z_]+", kind.code)
            assert kind.default_message.endswith(".")


def raised() -> Iterator[tuple[str, int]]:
    """Every code in the source with the status it has there."""
    tree = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.GatewayError)
    }
    for kind in tree.values():
        if kind is not errors.UpstreamError:
            yield kind.code, kind.status
    for file in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                made = tree.get(node.func.id)
                for keyword in node.keywords:
                    if made and keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        yield str(keyword.value.value), made.status


def test_every_code_has_the_status_that_is_documented() -> None:
    documented = {one.code: one.status for one in meanings()}
    found = set(raised())
    assert len(found) > 20
    assert found <= set(documented.items())
    busy = errors.UpstreamBusy()
    assert documented[busy.code] == busy.status


@pytest.mark.parametrize(
    ("error", "field", "value"),
    [
        (errors.Unauthenticated("Bearer", reason="r"), "WWW-Authenticate", "Bearer"),
        (errors.MethodNotAllowed("GET, HEAD"), "Allow", "GET, HEAD"),
        (errors.RateLimited("per-user", 7), "Retry-After", "7"),
        (errors.Unavailable(), "Retry-After", "1"),
        (errors.UpstreamBusy(), "Retry-After", "1"),
    ],
)
def test_an_error_brings_the_field_its_status_asks_for(
    error: errors.GatewayError, field: str, value: str
) -> None:
    assert dict(error.headers)[field] == value


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (errors.UpstreamConnectFailed("r"), False),
        (errors.UpstreamConnectTimeout("r"), False),
        (errors.UpstreamFirstByteTimeout("r"), True),
        (errors.UpstreamReset("r"), True),
    ],
)
def test_an_upstream_error_says_whether_the_request_may_have_been_seen(
    error: errors.UpstreamError, sent: bool
) -> None:
    assert error.sent is sent


def test_what_one_error_is_told_changes_no_other() -> None:
    errors.RequestError("m", code="c", param="p", reason="r")
    plain = errors.RequestError()
    assert (plain.message, plain.code) == ("The request is malformed.", "invalid_request")
    assert (plain.param, plain.reason, plain.headers) == (None, None, ())


@pytest.mark.parametrize(("seconds", "told"), [(1, "1 second."), (2, "2 seconds.")])
def test_a_limit_that_is_reached_tells_the_wait(seconds: int, told: str) -> None:
    error = errors.RateLimited("all", seconds)
    assert error.message == f"Limit 'all' is reached. Retry after {told}"
    assert error.headers == (("Retry-After", str(seconds)),)
