"""Command line: `gateway serve | reload | check | schema | routes | token | keys | ...`."""

from __future__ import annotations

import argparse
import difflib
import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module

import gateway
from gateway.cli import standard_streams
from gateway.cli.failures import EXIT_OK, WrongUsage, exit_code

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "doctor": (
        "doctor.command:add_arguments",
        "check everything a configuration depends on; print remedies",
    ),
    "init": ("init.command:add_arguments", "write a configuration for your backends"),
    "serve": ("serve:add_arguments", "serve a configuration until SIGTERM"),
    "check": ("check:add_arguments", "validate a file; print every problem"),
    "schema": ("schema:add_arguments", "print the configuration's JSON Schema"),
    "routes": ("routes:add_arguments", "print the routes in the order they are tried"),
    "errors": ("errors:add_arguments", "print what error codes mean and what to do"),
    "token": ("token:add_arguments", "sign a development JWT"),
    "keys": ("keys:add_arguments", "create, list, change and revoke API keys"),
    "teams": ("holders:add_team_arguments", "teams, and the limits and models of their keys"),
    "users": ("holders:add_user_arguments", "limits and models of users: the owners of keys"),
    "revoke": ("revoke:add_arguments", "revoke a token before it expires"),
    "operators": ("operators:add_arguments", "make tokens for programs that operate it"),
    "prompts": ("prompts:add_arguments", "read the files of the prompt audit"),
    "reload": ("reload:add_arguments", "make a running gateway read its file again"),
    "alerts": ("alerts:add_arguments", "send a test event to the webhooks of `alerts`"),
    "demo": ("demo:add_arguments", "run the demo backend alone"),
}
"""Commands in the order of the help: the function that describes the arguments of each, which is
imported only for a command line that has the command, and its line in the help.
"""
_COMPLETION = "completion"
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
    words = sys.argv[1:] if argv is None else argv
    with _uncollected():
        parser = command_parser(words)
    arguments = parser.parse_args(words)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as exc:
        failed = exit_code(exc)
        if failed is None:
            raise
        return failed
    return code


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import modules without a garbage collection: they stay, and it takes a tenth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def command_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of a command line of these words, or of any command line."""
    parser = argparse.ArgumentParser(
        prog="gateway",
        description="A reverse-proxy gateway for LLM APIs. Configured by one YAML file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gateway {gateway.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    is_any = words is None or _COMPLETION in words
    for name, (function, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if is_any or name in (words or ()):
            module, _, add_arguments = function.partition(":")
            getattr(import_module(f"gateway.cli.{module}"), add_arguments)(command)
    _add_help(commands.add_parser("help", help="show the help of a command"), parser)
    completing = commands.add_parser(_COMPLETION, help="print a completion script for a shell")
    if is_any:
        _add_completion(completing, parser)
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


def _add_help(helping: argparse.ArgumentParser, parser: argparse.ArgumentParser) -> None:
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


def _add_completion(completing: argparse.ArgumentParser, parser: argparse.ArgumentParser) -> None:
    import shtab

    completing.description = 'For bash: eval "$(gateway completion bash)" in ~/.bashrc.'
    completing.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)

    def run(arguments: argparse.Namespace) -> int:
        print(shtab.complete(parser, arguments.shell))
        return EXIT_OK

    completing.set_defaults(run=run)
