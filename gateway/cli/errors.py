"""`gateway errors`: print what error codes mean and what to do."""

from __future__ import annotations

import argparse
import difflib
import json
import sys

from gateway.cli.failures import EXIT_OK, EXIT_USAGE
from gateway.cli.table import print_table
from gateway.error_meanings import Meaning, meanings, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway errors`."""
    parser.add_argument("code", nargs="?", metavar="CODE", help="this code only")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=_errors)


def _errors(arguments: argparse.Namespace) -> int:
    found = [one for one in meanings() if arguments.code in (None, one.code)]
    if not found:
        close = difflib.get_close_matches(arguments.code, [one.code for one in meanings()], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(f"gateway errors: there is no code {arguments.code}{hint}", file=sys.stderr)
        return EXIT_USAGE
    if arguments.json:
        for one in found:
            print(json.dumps(_row(one)))
    elif arguments.code is None:
        print_table([["STATUS", "CODE"], *([str(one.status), one.code] for one in found)])
    else:
        (one,) = found
        print(f"{one.code}, status {one.status}")
        print(f"When: {plain(one.when)}.")
        print(f"What to do: {plain(one.remedy)}.")
    return EXIT_OK


def _row(one: Meaning) -> dict[str, object]:
    return {
        "status": one.status,
        "code": one.code,
        "when": plain(one.when),
        "remedy": plain(one.remedy),
    }
