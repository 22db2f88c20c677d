"""Configuration file of a command: the option that names it, and what is built from it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TypeAlias

from gateway.app import CannotBuild, Runtime
from gateway.config import ConfigError, Loaded, load_source, load_source_text
from gateway.config import models as config_models
from gateway.config.secret_sources import SecretReading
from gateway.process_state import ProcessState
from gateway.server.serving import require_c_parser
from gateway.store.location import UNREAD
from gateway.telemetry.logs.logger import direct_logger

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Commands of the program, to which each command adds its parser."""
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


def build(loaded: Loaded) -> Runtime:
    """Build the runtime of a file, so that `check` and `routes` find the same problems as `serve`.
    Raise ConfigError or CannotStart.

    An SQLite store that does not exist is not created: it would belong to the user who checks the
    file, who may be another than the one who serves it.
    """
    require_c_parser()
    config = loaded.config
    location = config.store.location
    if location == UNREAD or (location.path is not None and not location.path.exists()):
        config = config.model_copy(update={"store": config_models.StoreSettings()})
    try:
        return Runtime(config, ProcessState.begin(config, direct_logger(config.telemetry.log)))
    except CannotBuild as exc:
        raise ConfigError(loaded.source.problem(*fault) for fault in exc.faults) from exc
