"""Parts of a verdict: the parties that may be at fault, the templates of sentences, and remedies
that several verdicts share.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Party at fault for the outcome."""

    NOBODY = "nobody"
    CLIENT = "client"
    CONFIGURATION = "configuration"
    """The configuration of the gateway, or its capacity."""
    BACKEND = "backend"
    OPERATOR = "operator"
    GATEWAY = "gateway"
    """The gateway itself, or a service that it depends on, such as identity provider or store."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Templates of a verdict. `{why}` is a colon and the reason, or empty. `_facts` in `verdict.py`
    has the other fields.
    """

    fault: Fault
    text: str
    remedy: str


CORRECT = "The client has to correct the request."
BACKEND_LOG = "Look at the backend's log at this time."
