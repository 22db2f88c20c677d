"""Questions of `gateway init` on a terminal: backends, their keys, and whether callers need one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from gateway.cli.failures import WrongUsage
from gateway.cli.probe import FoundBackend, KeyNeeded, ProbeError

Probe = Callable[[str, str | None], FoundBackend]
"""Describes the backend at a URL, with the environment variable of its key. Raises ProbeError."""


def ask_for_backends(probe: Probe, variable: str | None) -> Sequence[FoundBackend]:
    """Ask for URLs until one is empty, and describe each backend at once.

    `variable` is the environment variable with the key of backends that need one; the user is asked
    for it if it is None. Raise WrongUsage without a terminal or a backend.
    """
    if not sys.stdin.isatty():
        raise WrongUsage("name a backend: gateway init --upstream http://HOST:PORT")
    found: list[FoundBackend] = []
    while True:
        question = "Another backend (Enter: none)" if found else "URL of your backend"
        url = _answer(f"{question}: ")
        if not url:
            break
        backend = _described(probe, url, variable)
        if backend is not None:
            found.append(backend)
            tell(f"  {summary(backend)}")
    if not found:
        raise WrongUsage("no backend was named")
    return found


def ask_whether_callers_need_a_key() -> bool:
    """Return True unless the user says no."""
    return not _answer("Do callers need an API key? [Y/n] ").lower().startswith("n")


def summary(found: FoundBackend) -> str:
    """Return a line about a backend: its product and its first models."""
    names = ", ".join(model.name for model in found.models[:3])
    more = f" and {len(found.models) - 3} more" if len(found.models) > 3 else ""
    return f"{found.endpoint}: {found.product}, {names or 'no model'}{more}"


def tell(text: str) -> None:
    """Print to the terminal, which is not standard output: `--output -` prints the file there."""
    print(text, file=sys.stderr, flush=True)


def _described(probe: Probe, url: str, variable: str | None) -> FoundBackend | None:
    try:
        return probe(url, variable)
    except KeyNeeded as exc:
        tell(f"  {exc}")
        if variable is not None or exc.is_named:
            return None
        named = _answer("Environment variable with its key: ")
        return _described(probe, url, named) if named else None
    except ProbeError as exc:
        tell(f"  {exc}")
        return None


def _answer(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        tell("")
    return line.strip()
