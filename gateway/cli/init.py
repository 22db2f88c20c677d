"""`gateway init`: write a configuration for backends, from what they report about themselves."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.cli.config_file import Commands
from gateway.cli.failures import CannotDo, WrongUsage
from gateway.cli.litellm.convert import NotLiteLlm, convert
from gateway.cli.probe import Credential, FoundBackend, FoundModel, ProbeError, probe
from gateway.cli.yaml_text import quoted
from gateway.config import ConfigError, load_text
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS

_MOST_MODELS = 20
"""Number of models of an upstream that are listed; the others are only counted in a comment."""
_INDENT = "  "


def add_command(commands: Commands) -> None:
    """Add `gateway init`."""
    parser = commands.add_parser(
        "init",
        help="write a configuration for your backends",
        description="Asks each backend what it is: product, dialect, models, context sizes. "
        "Nothing is generated.",
    )
    parser.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="URL",
        help="a backend, such as http://10.0.0.5:8000; may be given several times; "
        "without one, init asks",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="convert the configuration of a LiteLLM proxy instead of asking backends",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="list this model only; may be given several times",
    )
    parser.add_argument(
        "--key-env",
        metavar="NAME",
        help="environment variable with the backends' key; OpenAI, Anthropic and Azure have "
        "OPENAI_API_KEY, ANTHROPIC_API_KEY and AZURE_OPENAI_API_KEY",
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="ask callers for no key: for a machine of your own",
    )
    parser.add_argument(
        *("--output", "-o"),
        type=Path,
        default=Path("config.yaml"),
        help="the file to write; - prints it (%(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    parser.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    to_stdout = str(output) == "-"
    if not to_stdout and output.exists() and not arguments.force:
        raise WrongUsage(f"{output} exists: give --force to overwrite it, or another --output")
    if arguments.source is not None:
        return _convert(arguments, output, to_stdout=to_stdout)
    urls = arguments.upstream or _asked()
    found = asyncio.run(_probe_all(urls, arguments.key_env))
    if arguments.model:
        found = [_only(one, arguments.model) for one in found]
    if not any(one.models for one in found):
        raise CannotDo("none of the backends lists a model: load one, or correct --model")
    text = configuration(found, anonymous=arguments.anonymous)
    load_text(_with_secrets(text))
    if to_stdout:
        print(text, end="")
        return 0
    output.write_text(text)
    for one in found:
        names = ", ".join(model.name for model in one.models[:3])
        more = f" and {len(one.models) - 3} more" if len(one.models) > 3 else ""
        print(f"{one.endpoint}: {one.product}, {names}{more}")
    print(f"wrote {output}. Next:")
    for line in _next_steps(found, output, anonymous=arguments.anonymous):
        print(f"  {line}")
    return 0


def _convert(arguments: argparse.Namespace, output: Path, *, to_stdout: bool) -> int:
    """Convert a LiteLLM file. No backend is asked."""
    source: Path = arguments.source
    if arguments.upstream or arguments.model or arguments.key_env:
        raise WrongUsage("--from takes everything from the file: leave out the other options")
    try:
        found = convert(source.read_text("utf-8"), source.name, anonymous=arguments.anonymous)
    except UnicodeDecodeError as exc:
        raise WrongUsage(f"{source}: not UTF-8") from exc
    except NotLiteLlm as exc:
        raise WrongUsage(f"{source}: {exc}") from exc
    try:
        load_text(_with_variables(_with_secrets(found.text)))
    except ConfigError as exc:
        first = exc.problems[0]
        raise CannotDo(f"{source}: something in it cannot be converted: {first}") from exc
    if to_stdout:
        print(found.text, end="")
        return 0
    output.write_text(found.text)
    option = "" if output == Path("config.yaml") else f" --config {output}"
    print(f"wrote {output}. Next:")
    for variable in found.variables:
        print(f"  export {variable}")
    if not arguments.anonymous:
        print(f"  gateway keys create{option} --owner you@example.com")
    print(f"  gateway check{option}")
    print(f"  gateway serve{option}")
    if found.left_out:
        print(f"Settings without a counterpart: {found.left_out}, listed at the end of {output}.")
    return 0


def _asked() -> list[str]:
    """Ask the user for URLs, one on each line. Raise WrongUsage without a terminal or a URL."""
    if not sys.stdin.isatty():
        raise WrongUsage("name a backend: gateway init --upstream http://HOST:PORT")
    urls: list[str] = []
    while url := input("Backend URL (empty: done): " if urls else "Backend URL: ").strip():
        urls.append(url)
    if not urls:
        raise WrongUsage("no backend was named")
    return urls


async def _probe_all(urls: Sequence[str], variable: str | None) -> list[FoundBackend]:
    answers = await asyncio.gather(*(probe(url, variable) for url in urls), return_exceptions=True)
    problems = [str(one) for one in answers if isinstance(one, ProbeError)]
    if problems:
        raise CannotDo("\ngateway: ".join(problems))
    found = []
    for one in answers:
        if isinstance(one, BaseException):
            raise one
        found.append(one)
    return found


def _only(found: FoundBackend, names: Iterable[str]) -> FoundBackend:
    wanted = frozenset(names)
    models = tuple(model for model in found.models if model.name in wanted)
    return replace(found, models=models)


def _next_steps(found: Sequence[FoundBackend], output: Path, *, anonymous: bool) -> Iterator[str]:
    option = "" if output == Path("config.yaml") else f" --config {output}"
    for variable in dict.fromkeys(one.credential.variable for one in found if one.credential):
        yield f"export {variable}=..."
    if not anonymous:
        yield f"gateway keys create{option} --owner you@example.com"
    yield f"gateway serve{option}"


def _with_secrets(text: str) -> str:
    """Replace all secrets by a variable that is set, so that the check of the text does not fail
    because the user has not set them yet.
    """
    text = text.replace("url: {env: REDIS_URL}", "url: redis://localhost")
    return re.sub(r"\{env: \w+\}", "{env: PATH}", text)


def _with_variables(text: str) -> str:
    """Replace variables inside of texts: of a URL's beginning, or of a header."""
    return re.sub(r"\$\{\w+\}", "x", re.sub(r'url: "\$\{\w+\}', 'url: "http://localhost', text))


# -- the text ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Upstream:
    """Upstream whose endpoints are backends of the same kind, with the same models."""

    name: str
    first: FoundBackend
    endpoints: list[str]


def configuration(found: Sequence[FoundBackend], *, anonymous: bool) -> str:
    """Return a commented YAML configuration for the backends."""
    upstreams = _grouped(found)
    lines = [
        "# Made by `gateway init`; docs/configuration.md has every key.",
        "server: {listen: 127.0.0.1:8080}",
        "",
    ]
    if not anonymous:
        lines += [
            "# API keys, made by `gateway keys create`. docs/authentication.md has single sign-on.",
            "auth:",
            "  keys: {type: api_key, file: keys.yaml}",
            "",
        ]
    lines.append("upstreams:")
    for upstream in upstreams:
        lines += _upstream_lines(upstream)
    lines += ["", "# The names callers use.", "models:"]
    listed: dict[str, _Upstream] = {}
    for upstream in upstreams:
        lines += _model_lines(upstream, listed)
    lines += ["", *_route_lines(listed, anonymous=anonymous)]
    return "\n".join(lines) + "\n"


def _grouped(found: Sequence[FoundBackend]) -> list[_Upstream]:
    groups: list[_Upstream] = []
    for one in found:
        if not one.models:
            continue
        twin = next((group for group in groups if _are_equal(group.first, one)), None)
        if twin is not None:
            twin.endpoints.append(one.endpoint)
            continue
        slug = re.sub(r"[^a-z0-9]+", "-", one.product.lower()).strip("-")
        taken = sum(re.fullmatch(rf"{slug}(?:-\d+)?", group.name) is not None for group in groups)
        name = slug if not taken else f"{slug}-{taken + 1}"
        groups.append(_Upstream(name, one, [one.endpoint]))
    return groups


def _are_equal(one: FoundBackend, other: FoundBackend) -> bool:
    return (one.product, one.dialect, one.models) == (other.product, other.dialect, other.models)


def _upstream_lines(upstream: _Upstream) -> Iterator[str]:
    found = upstream.first
    yield f"{_INDENT}{upstream.name}: # {found.product}"
    yield f"{_INDENT * 2}dialect: {found.dialect}"
    yield f"{_INDENT * 2}endpoints:"
    for url in dict.fromkeys(upstream.endpoints):
        yield f"{_INDENT * 3}- {{url: {quoted(url)}}}"
    if found.credential is not None:
        yield f"{_INDENT * 2}credentials: {_credential(found.credential)}"
    needed = DIALECTS[found.dialect].needed_headers.items()
    if needed:
        fields = ", ".join(f'{name.decode()}: "{value.decode()}"' for name, value in needed)
        yield f"{_INDENT * 2}headers: {{{fields}}}"
    if found.health is not None:
        yield f"{_INDENT * 2}health: {{path: {found.health}}}"
    if len(upstream.endpoints) > 1 and found.product in ("vLLM", "SGLang", "llama.cpp"):
        yield f"{_INDENT * 2}balance: prefix # where the conversation's KV cache is"
    if found.product in ("Ollama", "llama.cpp"):
        yield f"{_INDENT * 2}timeouts: {{first_byte: 10m}} # loading a model takes a while"


def _credential(credential: Credential) -> str:
    secret = f"{{env: {credential.variable}}}"
    if credential.header:
        return f"{{header: {credential.header}, value: {secret}}}"
    return f"{{bearer: {secret}}}"


def _model_lines(upstream: _Upstream, listed: dict[str, _Upstream]) -> Iterator[str]:
    models = upstream.first.models
    for model in models[:_MOST_MODELS]:
        name = model.name if model.name not in listed else f"{upstream.name}/{model.name}"
        listed[name] = upstream
        own = "" if name == model.name else f", model: {quoted(model.name)}"
        line = f"{_INDENT}{quoted(name)}: {{upstream: {upstream.name}{own}}}"
        yield line + _context_comment(model)
    if len(models) > _MOST_MODELS:
        yield f"{_INDENT}# {upstream.name} lists {len(models) - _MOST_MODELS} more models."


def _context_comment(model: FoundModel) -> str:
    return "" if model.context_tokens is None else f" # context: {model.context_tokens} tokens"


def _route_lines(listed: dict[str, _Upstream], *, anonymous: bool) -> Iterator[str]:
    auth = "anonymous" if anonymous else "[keys]"
    shared = [name for name, upstream in listed.items() if upstream.first.versioned]
    if shared:
        dialects = {upstream.first.dialect for upstream in listed.values()}
        yield "# SDKs of every dialect reach every model: what differs is translated."
        yield "routes:"
        yield from _route("openai", "/v1/", "openai", auth, shared)
        yield from _route("anthropic", "/v1/messages", "anthropic", auth, shared, "[POST]")
        if "ollama" in dialects:
            yield from _route("ollama", "/api/", "ollama", auth, shared)
    else:
        yield "routes:"
    for upstream in {id(one): one for one in listed.values()}.values():
        if not upstream.first.versioned:
            own = [name for name, other in listed.items() if other is upstream]
            yield f"{_INDENT}# Its API is not below /v1: the route's path is taken off."
            path = f"/{upstream.name}/v1/"
            yield from _route(upstream.name, path, "openai", auth, own, strip=True)


def _route(
    name: str,
    path: str,
    dialect: Dialect,
    auth: str,
    models: Sequence[str],
    methods: str | None = None,
    *,
    strip: bool = False,
) -> Iterator[str]:
    yield f"{_INDENT}- name: {name}"
    yield f"{_INDENT * 2}path: {path}"
    if methods is not None:
        yield f"{_INDENT * 2}methods: {methods}"
    if strip:
        yield f"{_INDENT * 2}strip: true"
    yield f"{_INDENT * 2}dialect: {dialect}"
    yield f"{_INDENT * 2}auth: {auth}"
    yield f"{_INDENT * 2}models: [{', '.join(map(quoted, models))}]"
