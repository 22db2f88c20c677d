"""Command line: `gateway serve | reload | check | schema | routes | token | keys | ...`."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Mapping, Sequence

import shtab

import gateway
from gateway.auth.key_file import BadKeyFile
from gateway.cli import (
    alerts,
    check,
    demo,
    errors,
    holders,
    keys,
    operators,
    prompts,
    reload,
    revoke,
    routes,
    serve,
    standard_streams,
    token,
)
from gateway.cli.config_file import Commands
from gateway.cli.doctor import command as doctor
from gateway.cli.failures import (
    EXIT_CANNOT_DO,
    EXIT_CANNOT_START,
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    CannotDo,
    WrongUsage,
)
from gateway.cli.init import command as init
from gateway.config import ConfigError
from gateway.config.schema import json_schema
from gateway.server.serving import CannotStart

_EPILOG = """\
exit codes:
  0  done
  1  the configuration has problems; each is on its own line on standard error
  2  the command line is wrong
  3  the gateway cannot start: the address is taken, or a part it needs is missing; or
     a file cannot be written
  4  the store, the gateway or a backend does not answer

examples:
  gateway init --upstream http://10.0.0.5:8000
  gateway serve --config config.yaml
  gateway check config.yaml && gateway reload
  curl -H "Authorization: Bearer $(gateway token)" http://127.0.0.1:8080/v1/models
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    standard_streams.replace_closed()
    arguments = command_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except (ConfigError, BadKeyFile) as exc:
        print(exc, file=sys.stderr)
        return EXIT_CONFIG
    except CannotStart as exc:
        print(f"gateway: {exc}", file=sys.stderr)
        return EXIT_CANNOT_START
    except WrongUsage as exc:
        print(f"gateway: {exc}", file=sys.stderr)
        return EXIT_USAGE
    except CannotDo as exc:
        print(f"gateway: {exc}", file=sys.stderr)
        return EXIT_CANNOT_DO
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of the output, such as `head`, has enough. Without this, Python would report an
        # error when it flushes the output at exit.
        standard_streams.give_up_output()
        return EXIT_OK
    except OSError as exc:
        if exc.filename is not None and exc.strerror:
            print(f"gateway: {exc.filename}: {exc.strerror}", file=sys.stderr)
            return EXIT_CANNOT_START
        if not standard_streams.cannot_write(exc):
            raise
        standard_streams.give_up_output()
        print(f"gateway: cannot write to standard output: {exc.strerror}", file=sys.stderr)
        return EXIT_CANNOT_START
    return code


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gateway",
        description="A reverse-proxy gateway for LLM APIs. Configured by one YAML file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gateway {gateway.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (doctor, init, serve, check):
        command.add_command(commands)
    _add_schema(commands)
    for command in (
        routes,
        errors,
        token,
        keys,
        holders,
        revoke,
        operators,
        prompts,
        reload,
        alerts,
        demo,
    ):
        command.add_command(commands)
    _add_help(commands, parser)
    _add_completion(commands, parser)
    _describe(parser)
    return parser


def _describe(parser: argparse.ArgumentParser) -> None:
    """Begin the description of each command with its line in the list of commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for line in action._choices_actions:
                command, text = action.choices[line.dest], line.help or ""
                described = f"{text[:1].upper()}{text[1:]}. {command.description or ''}"
                command.description = described.strip()
                _describe(command)


def _add_schema(commands: Commands) -> None:
    schema = commands.add_parser(
        "schema",
        help="print the configuration's JSON Schema",
        description="For editors: `# yaml-language-server: $schema=FILE` in the first line.",
    )

    def run(_: argparse.Namespace) -> int:
        print(json.dumps(json_schema(), indent=2))
        return EXIT_OK

    schema.set_defaults(run=run)


def _add_help(commands: Commands, parser: argparse.ArgumentParser) -> None:
    helping = commands.add_parser("help", help="show the help of a command")
    helping.add_argument("command", nargs="*", metavar="COMMAND", help="such as `keys create`")

    def run(arguments: argparse.Namespace) -> int:
        found = parser
        for word in arguments.command:
            below = commands_of(found)
            if word not in below:
                near = difflib.get_close_matches(word, below, 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise WrongUsage(f"there is no command '{' '.join(arguments.command)}'{hint}")
            found = below[word]
        found.print_help()
        return EXIT_OK

    helping.set_defaults(run=run)


def commands_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the commands below a command, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def _add_completion(commands: Commands, parser: argparse.ArgumentParser) -> None:
    completing = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description='For bash: eval "$(gateway completion bash)" in ~/.bashrc.',
    )
    completing.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)

    def run(arguments: argparse.Namespace) -> int:
        print(shtab.complete(parser, arguments.shell))
        return EXIT_OK

    completing.set_defaults(run=run)
