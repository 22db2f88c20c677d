"""Findings: the verdict of a whole run is the worst of them."""

from __future__ import annotations

import pytest

from gateway.cli.doctor.finding import CheckResult, Finding, failed, ok, skipped, warning, worst

FINE, UNKNOWN = ok("a", "is there"), skipped("b", "was not asked")
DOUBTFUL, BROKEN = warning("c", "is old", "renew it"), failed("d", "is gone", "start it")


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([FINE, UNKNOWN], CheckResult.SKIPPED),
        ([FINE, DOUBTFUL, UNKNOWN], CheckResult.WARNING),
        ([BROKEN, DOUBTFUL, FINE], CheckResult.FAILED),
        ([FINE], CheckResult.OK),
        ([], CheckResult.OK),
    ],
)
def test_the_worst_finding_decides(findings: list[Finding], verdict: CheckResult) -> None:
    assert worst(findings) is verdict
