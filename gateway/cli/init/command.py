"""Command `gateway init`: asks backends what they are, and writes the file."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.cli.failures import CannotDo, WrongUsage
from gateway.cli.init.asking import ask_for_backends, ask_whether_callers_need_a_key, summary
from gateway.cli.init.text import configuration
from gateway.cli.litellm.convert import NotLiteLlm, convert
from gateway.cli.probe import FoundBackend, ProbeError, probe
from gateway.config import ConfigError, load_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway init`."""
    parser.description = (
        "Asks each backend what it is: product, dialect, models, context sizes. "
        "Nothing is generated."
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
    anonymous: bool = arguments.anonymous
    if arguments.upstream:
        found = asyncio.run(_probe_all(arguments.upstream, arguments.key_env))
    else:
        found = list(ask_for_backends(_probe_now, arguments.key_env))
        anonymous = anonymous or not ask_whether_callers_need_a_key()
    if arguments.model:
        found = [_only(one, arguments.model) for one in found]
    if not any(one.models for one in found):
        raise CannotDo("none of the backends lists a model: load one, or correct --model")
    text = configuration(found, anonymous=anonymous)
    load_text(_with_secrets(text))
    if to_stdout:
        print(text, end="")
        return 0
    output.write_text(text)
    if arguments.upstream:
        for one in found:
            print(summary(one))
    print(f"wrote {output}. Next:")
    for line in _next_steps(found, output, anonymous=anonymous):
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


def _probe_now(url: str, variable: str | None) -> FoundBackend:
    return asyncio.run(probe(url, variable))


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
