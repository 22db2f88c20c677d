"""`gateway reload`: make a running gateway read its file again."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp

from gateway.cli.config_file import add_config_option
from gateway.cli.failures import CannotDo, WrongUsage, why_unreachable
from gateway.config import Config, load_for_command
from gateway.processes.sockets import split_address

VARIABLE = "GATEWAY_OPERATOR_TOKEN"
"""Environment variable with a token of `admin.tokens`, where there is no `admin.token`."""
_TIMEOUT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway reload`."""
    parser.description = (
        "Asks the admin listener, with `admin.token` or the token in "
        f"{VARIABLE}. A file with a problem changes nothing."
    )
    add_config_option(parser)
    parser.set_defaults(run=_reload)


def _reload(arguments: argparse.Namespace) -> int:
    config = load_for_command(
        arguments.config
    )  # an invalid file is reported before the gateway is asked
    document = asyncio.run(_ask(config))
    for problem in document["problems"]:
        print(problem)
    if document["problems"]:
        return 1
    served = Path(document["file"])
    print(f"reloaded {served}")
    if served.resolve() != arguments.config.resolve():
        print(f"gateway: {arguments.config} is not the file that gateway serves", file=sys.stderr)
    for setting in document["needs_restart"]:
        print(f"{setting}: takes effect after a restart")
    return 0


async def _ask(config: Config) -> Any:
    options = config.admin
    if options is None:
        raise WrongUsage(
            "the configuration has no admin listener: send SIGHUP to the master instead"
        )
    host, port = split_address(options.listen)
    url = f"http://{host or '127.0.0.1'}:{port}/api/reload"
    headers = {}
    token = os.environ.get(VARIABLE)
    if token is None and options.token is not None:
        token = options.token.reveal().decode()
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.post(url, headers=headers) as response,
        ):
            document = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        why = why_unreachable(exc)
        raise CannotDo(f"no gateway answers at {options.listen}: {why}. Is it running?") from exc
    if "ok" not in document:
        raise CannotDo(document.get("error", "it was refused"))
    return document
