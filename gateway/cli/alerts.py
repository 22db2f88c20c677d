"""`gateway alerts`: send a test event to the configured webhooks."""

from __future__ import annotations

import argparse
import asyncio
import time
from urllib.parse import urlsplit

from gateway.cli.config_file import add_config_option
from gateway.cli.failures import EXIT_CANNOT_DO, EXIT_OK, WrongUsage
from gateway.config import load_for_command, models
from gateway.telemetry.alerts.delivery import DeliveryFailed, deliver
from gateway.telemetry.alerts.event import AlertEvent, AlertKind
from gateway.wiring.alerts import alert_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway alerts`."""
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    parser = below.add_parser("test", help="send a test event, and print what each answers")
    parser.add_argument("name", nargs="?", help="one alert only; default: all")
    add_config_option(parser)
    parser.set_defaults(run=_test)


def _test(arguments: argparse.Namespace) -> int:
    alerts = load_for_command(arguments.config).alerts
    if not alerts:
        raise WrongUsage("the configuration has no alerts")
    if arguments.name is not None and arguments.name not in alerts:
        raise WrongUsage(f"there is no alert '{arguments.name}': there are {', '.join(alerts)}")
    names = [arguments.name] if arguments.name is not None else list(alerts)
    failed = [name for name in names if not asyncio.run(_sent(name, alerts[name]))]
    return EXIT_CANNOT_DO if failed else EXIT_OK


async def _sent(name: str, options: models.AlertSettings) -> bool:
    target = alert_target(options)
    host = urlsplit(target.url).hostname
    event = AlertEvent(AlertKind.TEST, f"alert {name}", f"This is a test of {name}", time.time())
    try:
        await deliver(target, event)
    except DeliveryFailed as exc:
        print(f"{name}: {host} did not accept it: {exc}")
        return False
    print(f"{name}: sent to {host}")
    return True
