"""Claims of a person for operators: groups, and the name that the audit log shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.auth.claims import claim

_NAME_CAP = 200


def groups_of(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """Return the groups in a claim. A single text is one group, whatever it contains. An e-mail
    address counts only if the issuer has verified it.
    """
    value = claim(claims, name)
    if name == "email" and claims.get("email_verified") is False:
        return frozenset()
    if isinstance(value, str):
        return frozenset((value,))
    if not isinstance(value, list):
        return frozenset()
    return frozenset(one for one in value if isinstance(one, str))


def shown_name(claims: Mapping[str, Any], name: str) -> str:
    """Return the name that the audit log shows."""
    for one in (name, "preferred_username", "sub"):
        value = claim(claims, one)
        if one == "email" and claims.get("email_verified") is False:
            continue
        if isinstance(value, str) and value.isprintable() and value.strip():
            return value[:_NAME_CAP]
    return "unknown"
