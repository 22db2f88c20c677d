"""Findings of the doctor: the subject of a check, its verdict, and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class CheckResult(StrEnum):
    """Results of a check, from good to bad."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check, with a text and a remedy."""

    subject: str
    """Subject of the check, such as `upstreams.vllm http://10.0.0.5:8000`."""
    verdict: CheckResult
    text: str
    remedy: str = ""
    """Instruction for the operator; empty if there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Remedies:
    """Remedies for the faults of a server, which depend on whose it is."""

    unreachable: str
    untrusted: str
    refused: str
    buffered: str


def ok(subject: str, text: str) -> Finding:
    """Return the finding for a check that passed."""
    return Finding(subject, CheckResult.OK, text)


def skipped(subject: str, text: str) -> Finding:
    """Return the finding for a check that was skipped."""
    return Finding(subject, CheckResult.SKIPPED, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Return the finding for something that works now, but may fail later."""
    return Finding(subject, CheckResult.WARNING, text, remedy)


def failed(subject: str, text: str, remedy: str) -> Finding:
    """Return the finding for something that does not work."""
    return Finding(subject, CheckResult.FAILED, text, remedy)


def worst(findings: Iterable[Finding]) -> CheckResult:
    """Return the worst verdict of the findings; OK if there are none."""
    order: Sequence[CheckResult] = list(CheckResult)
    return max((one.verdict for one in findings), key=order.index, default=CheckResult.OK)
