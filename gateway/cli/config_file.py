"""Configuration file of a command: the option that names it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gateway.config import Loaded, load_source, load_source_text
from gateway.config.secret_sources import SecretReading

_DEFAULT = Path("config.yaml")


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--config`."""
    parser.add_argument(
        *("--config", "-c"),
        type=Path,
        default=_DEFAULT,
        metavar="FILE",
        help="configuration file (%(default)s)",
    )


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Add the configuration file, as an argument or as an option. `config_file` returns it."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="configuration file (config.yaml)"
    )
    where.add_argument("--config", "-c", type=Path, metavar="FILE", help="the same, as an option")


def config_file(arguments: argparse.Namespace) -> Path:
    """Return the file that was given for `add_config_file`, or its default."""
    file: Path = arguments.file or arguments.config or _DEFAULT
    return file


def load_given(
    arguments: argparse.Namespace, reading: SecretReading = SecretReading.AT_LOAD
) -> Loaded:
    """Load the file that was given; `-` means standard input, which is read once. Raise
    ConfigError.
    """
    path = config_file(arguments)
    if str(path) != "-":
        return load_source(path, reading=reading)
    text = arguments.text = getattr(arguments, "text", None) or sys.stdin.read()
    return load_source_text(text, name="<stdin>", base=Path(), environ=os.environ, reading=reading)
