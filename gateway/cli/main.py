"""Command line: `gateway serve | reload | check | schema | routes | token | keys | ...`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jwt
import shtab
import uvloop

import gateway
from gateway.app import CannotBuild, Runtime
from gateway.auth.key_file import BadKeyFile
from gateway.cli import init, keys, reload, revoke, standard_streams
from gateway.cli.doctor import command as doctor
from gateway.cli.failures import CannotDo, WrongUsage
from gateway.config import (
    Config,
    ConfigError,
    Loaded,
    Problem,
    load,
    load_source,
    load_source_text,
)
from gateway.config import models as config_models
from gateway.config.schema import json_schema
from gateway.config.types import check_listen
from gateway.config.units import parse_duration
from gateway.demo import DemoBackend, faults
from gateway.process_state import ProcessState
from gateway.processes.master import Master
from gateway.processes.sockets import cannot_listen, split_address
from gateway.server.serving import CannotStart, require_c_parser
from gateway.telemetry.logs.logger import direct_logger
from gateway.wiring.routes import shown

EXIT_OK, EXIT_CONFIG, EXIT_USAGE, EXIT_CANNOT_START, EXIT_CANNOT_DO = range(5)

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
    arguments = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway",
        description="A reverse-proxy gateway for LLM APIs. Configured by one YAML file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gateway {gateway.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    examining = commands.add_parser(
        "doctor",
        help="check everything a configuration depends on; print remedies",
        description="Open files, disk, addresses; identity providers and their clocks; the store; "
        "every endpoint: DNS, TLS, dialect, models. With --through: buffering in front. Exit "
        "code 1 if something failed.",
    )
    doctor.add_options(examining)

    writing = commands.add_parser(
        "init",
        help="write a configuration for your backends",
        description="Asks each backend what it is: product, dialect, models, context sizes. "
        "Nothing is generated.",
    )
    init.add_options(writing)

    serve = commands.add_parser(
        "serve",
        help="serve a configuration until SIGTERM",
        description="SIGTERM or SIGINT drains, a second one ends at once; SIGHUP reloads; SIGUSR2 "
        "starts the program anew on the same sockets.",
    )
    _config_option(serve)
    serve.set_defaults(run=_serve)

    check = commands.add_parser(
        "check",
        help="validate a file; print every problem",
        description="What `serve` would object to, a problem a line: where it is, what is wrong, "
        "and what would be right. Secrets and plug-ins have to be there, backends need not be.",
    )
    _config_option(check)
    check.add_argument("--json", action="store_true", help="one JSON object a problem, on stdout")
    check.add_argument("--strict", action="store_true", help="exit code 1 for warnings, too")
    check.set_defaults(run=_check)

    schema = commands.add_parser(
        "schema",
        help="print the configuration's JSON Schema",
        description="For editors: `# yaml-language-server: $schema=FILE` in the first line.",
    )
    schema.set_defaults(run=_schema)

    routes = commands.add_parser("routes", help="print the routes in the order they are tried")
    _config_option(routes)
    routes.add_argument("--json", action="store_true", help="one JSON object a line")
    routes.set_defaults(run=_routes)

    token = commands.add_parser(
        "token",
        help="sign a development JWT",
        description="Signs with the secret of a JWT provider.",
    )
    _config_option(token)
    token.add_argument(
        "--provider", help="which provider of `auth`; default: the first with a secret"
    )
    token.add_argument("--subject", default="developer", help="subject claim (%(default)s)")
    token.add_argument("--tenant", help="tenant claim, if the provider maps one")
    token.add_argument("--scopes", help="scopes, separated by spaces")
    token.add_argument("--ttl", default="1h", help="lifetime (%(default)s)")
    token.set_defaults(run=_token)

    key_commands = commands.add_parser("keys", help="create, list and revoke API keys")
    keys.add_commands(key_commands)

    taking_back = commands.add_parser("revoke", help="revoke a token before it expires")
    revoke.add_options(taking_back)

    reading_again = commands.add_parser(
        "reload",
        help="make a running gateway read its file again",
        description="Asks the admin listener. A file with a problem changes nothing.",
    )
    reload.add_options(reading_again)

    demo = commands.add_parser(
        "demo",
        help="run the demo backend alone",
        description="Plays OpenAI, Anthropic and Ollama without a model. A model named demo-FAULT, "
        "or the header `x-demo-fault: FAULT`, makes it fail: "
        f"{', '.join(faults.FaultKind)}; `reset@5` after five tokens.",
    )
    demo.add_argument("--listen", default="127.0.0.1:8081", help="HOST:PORT (%(default)s)")
    demo.add_argument("--pace", default="20ms", help="time between two tokens (%(default)s)")
    demo.set_defaults(run=_demo)

    helping = commands.add_parser("help", help="show the help of a command")
    helping.add_argument("command", nargs="?", choices=sorted(commands.choices), metavar="COMMAND")
    helping.set_defaults(run=lambda arguments: _help(parser, commands.choices, arguments))

    completing = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description='For bash: eval "$(gateway completion bash)" in ~/.bashrc.',
    )
    completing.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    completing.set_defaults(run=lambda arguments: _completion(parser, arguments))
    return parser


def _help(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, argparse.ArgumentParser],
    arguments: argparse.Namespace,
) -> int:
    (parser if arguments.command is None else commands[arguments.command]).print_help()
    return EXIT_OK


def _completion(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    print(shtab.complete(parser, arguments.shell))
    return EXIT_OK


def _config_option(parser: argparse.ArgumentParser) -> None:
    """Add the configuration file, as an argument or as an option."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the file (config.yaml)")
    where.add_argument("--config", "-c", type=Path, metavar="FILE", help="the same")


def _file(arguments: argparse.Namespace) -> Path:
    """Return the file that was given for `_config_option`, or its default."""
    file: Path = arguments.file or arguments.config or Path("config.yaml")
    return file


def _serve(arguments: argparse.Namespace) -> int:
    loaded = load_source(_file(arguments))
    master = Master(loaded, [sys.executable, "-m", "gateway", *sys.argv[1:]])
    master.on_ready = lambda *urls: _welcome(loaded.config, *urls)
    return master.run()


def _check(arguments: argparse.Namespace) -> int:
    """Print problems and warnings by line. Warnings alone are no failure unless `--strict`."""
    errors: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    try:
        loaded = _loaded(_file(arguments))
        warnings = loaded.warnings()
        _build(loaded)
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
            print(f"{_file(arguments)}: ok")
    return EXIT_CONFIG if errors or (warnings and arguments.strict) else EXIT_OK


def _loaded(path: Path) -> Loaded:
    """Load a file; `-` means standard input. Raise ConfigError."""
    if str(path) == "-":
        return load_source_text(sys.stdin.read(), name="<stdin>", base=Path())
    return load_source(path)


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return EXIT_OK


def _routes(arguments: argparse.Namespace) -> int:
    loaded = _loaded(_file(arguments))
    rows = shown(loaded.config, _build(loaded).routes)
    if arguments.json:
        for row in rows:
            print(json.dumps(row))
    else:
        _print_table(rows)
    return EXIT_OK


def _print_table(rows: list[dict[str, str]]) -> None:
    header = {key: key.upper() for key in rows[0]}
    widths = {key: max(len(row[key]) for row in [header, *rows]) for key in header}
    for row in [header, *rows]:
        print("  ".join(row[key].ljust(widths[key]) for key in header).rstrip())


def _token(arguments: argparse.Namespace) -> int:
    config = load(_file(arguments))
    try:
        ttl_s = parse_duration(arguments.ttl)
    except ValueError as exc:
        raise WrongUsage(f"--ttl: {exc}") from exc
    if arguments.provider and arguments.provider not in config.auth:
        known = ", ".join(config.auth) or "none"
        raise WrongUsage(f"--provider: there is no {arguments.provider!r} in `auth`: {known}")
    name = arguments.provider or _signing_provider(config)
    provider = config.auth.get(name or "")
    if not isinstance(provider, config_models.JwtProviderSettings) or provider.secret is None:
        raise WrongUsage(
            f"{f'{name!r} has no' if name else 'no provider in `auth` has a'} `secret` to sign a "
            "token with: --provider names another; API keys come from `gateway keys create`"
        )
    if not arguments.subject:
        raise WrongUsage("--subject must not be empty")
    said = {"subject": arguments.subject, "tenant": arguments.tenant, "scopes": arguments.scopes}
    print(mint(provider, ttl_s, **{key: value for key, value in said.items() if value}))
    return EXIT_OK


def _demo(arguments: argparse.Namespace) -> int:
    try:
        pace_s = parse_duration(arguments.pace)
        host, port = split_address(check_listen(arguments.listen))
    except ValueError as exc:
        raise WrongUsage(str(exc)) from exc

    async def serve() -> None:
        backend = DemoBackend(pace_s=pace_s)
        try:
            await backend.start(host or "0.0.0.0", port)  # noqa: S104 -- asked for by name
        except OSError as exc:
            raise CannotStart(cannot_listen(arguments.listen, exc, "--listen")) from exc
        print(f"demo backend on {backend.url}", flush=True)
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
        await backend.stop()

    uvloop.run(serve())
    return EXIT_OK


def _build(loaded: Loaded) -> Runtime:
    """Build the runtime of a file, so that `check` and `routes` find the same problems as `serve`.
    Raise ConfigError or CannotStart.

    An SQLite store that does not exist is not created: it would belong to the user who checks the
    file, who may be another than the one who serves it.
    """
    require_c_parser()
    config = loaded.config
    path = config.store.location.path
    if path is not None and not path.exists():
        config = config.model_copy(update={"store": config_models.StoreSettings()})
    with _placing_faults(loaded):
        return Runtime(config, ProcessState.begin(config, direct_logger(config.telemetry.log)))


@contextlib.contextmanager
def _placing_faults(loaded: Loaded) -> Iterator[None]:
    """Add the position in the file to problems of parts that cannot be built."""
    try:
        yield
    except CannotBuild as exc:
        raise ConfigError(loaded.source.problem(*fault) for fault in exc.faults) from exc


def mint(
    provider: config_models.JwtProviderSettings,
    ttl_s: float,
    *,
    subject: str,
    tenant: str | None = None,
    scopes: str | None = None,
) -> str:
    """Return a token that the provider accepts, valid for `ttl_s` seconds. `scopes` are words,
    separated by spaces.
    """
    assert provider.secret is not None
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": provider.issuer,
        "aud": provider.audience[0],
        "iat": now,
        "exp": now + int(ttl_s),
        "jti": secrets.token_hex(16),
        provider.claims.subject: subject,
    }
    if tenant is not None:
        claims[provider.claims.tenant or "tenant"] = tenant
    if scopes is not None:
        claims[provider.claims.scopes[0] if provider.claims.scopes else "scope"] = scopes
    return jwt.encode(claims, provider.secret.reveal(), algorithm=provider.algorithm)


def _signing_provider(config: Config) -> str | None:
    """Return the first provider with a shared secret, whose tokens can be signed here, or None."""
    for name, provider in config.auth.items():
        if isinstance(provider, config_models.JwtProviderSettings) and provider.secret is not None:
            return name
    return None


def _command() -> str:
    """Return the command that started this program, for use in messages."""
    name = sys.argv[0]
    return "python -m gateway" if name.endswith("__main__.py") else name


def _welcome(config: Config, url: str, admin: str | None, demo: str | None) -> None:
    """Print all URLs and a sample request, if there is a demo backend."""
    name = _signing_provider(config)
    provider = config.auth.get(name or "")
    if demo is None or not isinstance(provider, config_models.JwtProviderSettings):
        return
    token = mint(provider, 3600, subject="demo", tenant="demo")
    body = json.dumps(
        {
            "model": next(iter(config.models), "demo"),
            "stream": True,
            "messages": [{"role": "user", "content": "Hello"}],
        }
    )
    pages = "" if admin is None else f"  dashboard     {admin}\n"
    play = "" if admin is None else f"Or in a browser:  {admin}/play#token={token}\n\n"
    print(
        f"""
  gateway       {url}      set your SDK's base_url to {url}/v1
{pages}  demo backend  {demo}
  more tokens   {_command()} token      (this one is good for an hour)

Try it:

  curl -N {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {token}' \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

{play}Watch it fail: add  -H 'x-demo-fault: reset@5'  (or stall, hang, error, …: see config.yaml).
""",
        file=sys.stderr,
        flush=True,
    )
