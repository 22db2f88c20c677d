"""What a request may ask for."""

from __future__ import annotations

import pytest

from gateway.errors import RequestError
from gateway.resume.policy import Allowed, OnDisconnect, Policy

CANCEL, DETACH = Policy(OnDisconnect.CANCEL), Policy(OnDisconnect.DETACH)
ALLOWED = Allowed(CANCEL, longest_grace_s=60.0, detach=True)


def grace(seconds: float) -> Policy:
    return Policy(OnDisconnect.GRACE, seconds)


@pytest.mark.parametrize(
    ("asked", "policy"),
    [
        (None, CANCEL),
        ("cancel", CANCEL),
        (" detach ", DETACH),
        ("grace=30s", grace(30.0)),
        ("grace=500ms", grace(0.5)),
        ("grace", grace(60.0)),
        ("grace=10m", grace(60.0)),
    ],
)
def test_what_is_asked_applies_within_what_is_allowed(asked: str | None, policy: Policy) -> None:
    assert ALLOWED.policy(asked) == policy


@pytest.mark.parametrize("asked", ["", "Cancel", "detach=1s", "grace=-1s", "x"])
def test_anything_else_is_refused(asked: str) -> None:
    with pytest.raises(RequestError, match=r".") as caught:
        ALLOWED.policy(asked)
    assert caught.value.code == "invalid_on_disconnect"


def test_detach_is_refused_where_it_is_not_allowed() -> None:
    with pytest.raises(RequestError, match="without a reader"):
        Allowed(CANCEL, longest_grace_s=60.0, detach=False).policy("detach")


def test_a_policy_is_said_as_it_is_asked_for() -> None:
    for policy in (CANCEL, DETACH, grace(30.0), grace(0.5)):
        assert ALLOWED.policy(str(policy)) == policy
