"""`gateway check`: validate a configuration file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from gateway.cli.config_file import Commands, add_config_file, build, config_file, load_given
from gateway.cli.failures import EXIT_CONFIG, EXIT_OK
from gateway.config import ConfigError, Problem


def add_command(commands: Commands) -> None:
    """Add `gateway check`."""
    parser = commands.add_parser(
        "check",
        help="validate a file; print every problem",
        description="What `serve` would object to, a problem a line: where it is, what is wrong, "
        "and what would be right. Secrets and plug-ins have to be there, backends need not be.",
    )
    add_config_file(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a problem, on stdout")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings, too")
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    """Print problems and warnings by line. Warnings alone are no failure unless `--strict`."""
    errors: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    try:
        loaded = load_given(arguments)
        warnings = loaded.warnings()
        build(loaded)
    except ConfigError as exc:
        errors = exc.problems
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
            print(f"{config_file(arguments)}: ok")
    return EXIT_CONFIG if errors or (warnings and arguments.strict) else EXIT_OK
