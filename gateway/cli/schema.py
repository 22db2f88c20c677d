"""`gateway schema`: print the JSON Schema of the configuration."""

from __future__ import annotations

import argparse
import json

from gateway.cli.failures import EXIT_OK
from gateway.config.schema import json_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway schema`."""
    parser.description = "For editors: `# yaml-language-server: $schema=FILE` in the first line."
    parser.set_defaults(run=_schema)


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return EXIT_OK
