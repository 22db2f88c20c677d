"""`gateway check`: validate a configuration file."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from gateway.cli.build import build
from gateway.cli.config_file import add_config_file, config_file, load_given
from gateway.cli.doctor.finding import CheckResult, worst
from gateway.cli.doctor.model_lists import model_findings
from gateway.cli.doctor.upstreams import endpoint_findings
from gateway.cli.failures import EXIT_CONFIG, EXIT_OK
from gateway.config import ConfigError, Loaded, Problem
from gateway.config.problems import ConfigPath, dotted, in_order
from gateway.config.secret_sources import SecretReading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway check`."""
    parser.description = (
        "Finds everything that would keep `serve` from starting. Each problem is one "
        "line: its place, what is wrong, and what is right. Secrets and plug-ins are loaded, too: "
        "--offline reads no secrets, for a check where there are none. Backends are asked with "
        "--live only."
    )
    add_config_file(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a problem, on stdout")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--offline", action="store_true", help="read no secrets")
    how.add_argument(
        "--live",
        action="store_true",
        help="also ask every backend: whether it is there, its dialect, base path and models",
    )
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings, too")
    parser.set_defaults(run=_check)


async def _live(loaded: Loaded, warnings: Sequence[Problem]) -> list[Problem]:
    """Return the warnings with what the backends say. Where a backend says that its URL is right,
    the warnings about the URL are dropped.
    """
    config = loaded.config
    found: list[Problem] = []
    for name, upstream in config.upstreams.items():
        for index, endpoint in enumerate(upstream.endpoints):
            path: ConfigPath = ("upstreams", name, "endpoints", index, "url")
            findings = [one async for one in endpoint_findings(config, name, endpoint)]
            found += (
                loaded.source.problem(path, one.text, one.remedy) for one in findings if one.remedy
            )
            if worst(findings) is CheckResult.OK:
                warnings = [one for one in warnings if one.path != path]
    found += [loaded.source.problem(*one) for one in await model_findings(config)]
    return in_order([*warnings, *found])


def _print_sources(loaded: Loaded) -> None:
    """Print which other sources the configuration has."""
    for text in loaded.texts[1:]:
        print(f"  includes {text.name}")
    for one in loaded.overrides:
        print(f"  {dotted(one.path)} is set by {one.variable}")


def _without_secrets(arguments: argparse.Namespace) -> tuple[Sequence[Problem], list[Problem]]:
    """Return the problems and warnings that do not depend on secrets."""
    warnings: list[Problem] = []
    try:
        loaded = load_given(arguments, SecretReading.NEVER)
        warnings = loaded.warnings()
        build(loaded)
    except ConfigError as exc:
        return exc.problems, warnings
    return (), warnings


def _check(arguments: argparse.Namespace) -> int:
    """Print problems and warnings by line. Warnings alone are no failure unless `--strict`."""
    errors: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    loaded: Loaded | None = None
    reading = SecretReading.NEVER if arguments.offline else SecretReading.AT_LOAD
    try:
        loaded = load_given(arguments, reading)
        warnings = loaded.warnings()
        build(loaded)
        if arguments.live:
            warnings = asyncio.run(_live(loaded, warnings))
    except ConfigError as exc:
        # A secret that is missing here hides what is found only in a valid configuration.
        more, warnings = _without_secrets(arguments)
        errors = in_order(dict.fromkeys([*exc.problems, *more]))
    if arguments.json:
        for severity, problems in (("error", errors), ("warning", warnings)):
            for one in problems:
                print(json.dumps({"severity": severity, **one.as_dict()}))
    else:
        for one in errors:
            print(one, file=sys.stderr)
        for one in warnings:
            print(f"{one} (warning)", file=sys.stderr)
        if not errors:
            unread = "; secrets were not read" if arguments.offline else ""
            print(f"{config_file(arguments)}: ok{unread}")
            if loaded is not None:
                _print_sources(loaded)
    return EXIT_CONFIG if errors or (warnings and arguments.strict) else EXIT_OK
