"""`gateway routes`: print the routes in the order in which they are tried."""

from __future__ import annotations

import argparse
import json

from gateway.cli.build import build
from gateway.cli.config_file import add_config_file, load_given
from gateway.cli.failures import EXIT_OK
from gateway.cli.table import print_table
from gateway.config.secret_sources import SecretReading
from gateway.wiring.routes import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway routes`."""
    add_config_file(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=_routes)


def _routes(arguments: argparse.Namespace) -> int:
    loaded = load_given(arguments, SecretReading.NEVER)
    rows = shown(loaded.config, build(loaded).routes)
    if arguments.json:
        for row in rows:
            print(json.dumps(row))
    else:
        print_table([[key.upper() for key in rows[0]], *(list(row.values()) for row in rows)])
    return EXIT_OK
