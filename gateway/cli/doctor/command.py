"""Command `gateway doctor`: runs the checks in turn and prints the findings."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict

from gateway.cli.config_file import add_config_file, load_given
from gateway.cli.doctor.finding import CheckResult, Finding, worst
from gateway.cli.doctor.identity import identity
from gateway.cli.doctor.machine import machine
from gateway.cli.doctor.store import store
from gateway.cli.doctor.through import through
from gateway.cli.doctor.upstreams import upstreams
from gateway.cli.failures import WrongUsage
from gateway.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway doctor`."""
    parser.description = (
        "Checks open files, disk and addresses; identity providers and their clocks; "
        "the store; every endpoint: DNS, TLS, dialect, models. --generate looks for buffering "
        "behind the gateway, --through in front of it. The exit code is 1 if something failed."
    )
    add_config_file(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--generate",
        action="store_true",
        help="also stream a short generation from each endpoint, which costs tokens",
    )
    parser.add_argument(
        "--through",
        metavar="URL",
        help="stream a short generation through this public address, and look for buffering",
    )
    parser.add_argument("--token", help="with --through: the credential to send")
    parser.add_argument("--model", help="with --through: the model; default: the first of the file")
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    config = load_given(arguments).config
    checks: list[tuple[str, AsyncIterator[Finding]]] = [
        ("machine", _later(machine(config))),
        ("identity", identity(config)),
        ("store", store(config)),
        ("upstreams", upstreams(config, generate=arguments.generate)),
    ]
    if arguments.through is not None:
        checks.append(("stream", _streamed(config, arguments)))
    findings: list[Finding] = []
    for finding in _run(checks, progress=sys.stderr.isatty() and not arguments.json):
        findings.append(finding)
        if arguments.json:
            print(json.dumps(asdict(finding)), flush=True)
        else:
            _print(finding)
    return 1 if worst(findings) is CheckResult.FAILED else 0


def _streamed(config: Config, arguments: argparse.Namespace) -> AsyncIterator[Finding]:
    model = arguments.model or next(iter(config.models), None)
    if model is None:
        raise WrongUsage("--through: the file has no model: name one with --model")
    return through(arguments.through, arguments.token, model)


async def _later(findings: Iterable[Finding]) -> AsyncIterator[Finding]:
    for finding in findings:
        yield finding


def _run(
    checks: Iterable[tuple[str, AsyncIterator[Finding]]], *, progress: bool
) -> Iterator[Finding]:
    """Run the checks one after the other, and yield each finding as soon as it is known."""
    with asyncio.Runner() as runner:
        for name, check in checks:
            while True:
                if progress:
                    print(f"\r\x1b[Klooking at {name} ...", end="", file=sys.stderr, flush=True)
                try:
                    finding = runner.run(_next(check))
                finally:
                    if progress:
                        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
                if finding is None:
                    break
                yield finding


async def _next(check: AsyncIterator[Finding]) -> Finding | None:
    return await anext(check, None)


def _print(finding: Finding) -> None:
    is_failure = finding.verdict is CheckResult.FAILED
    mark = finding.verdict.upper() if is_failure else finding.verdict
    print(f"{mark:7}  {finding.subject}: {finding.text}", flush=True)
    if finding.remedy:
        print(f"         {finding.remedy}", flush=True)
