"""Exit codes and errors of commands, and the text of failed connections."""

from __future__ import annotations

import os

import aiohttp

EXIT_OK, EXIT_CONFIG, EXIT_USAGE, EXIT_CANNOT_START, EXIT_CANNOT_DO = range(5)
EXIT_INTERRUPTED = 130
"""What a shell reports of a program that SIGINT ends."""


def why_unreachable(exc: Exception) -> str:
    """Return why a connection was not made, in the system's words: "Connection refused".

    aiohttp's own text names its arguments.
    """
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if isinstance(cause, OSError) and (cause.errno or 0) > 0:
        return os.strerror(cause.errno or 0)
    return str(cause) or "no answer in time"


class WrongUsage(Exception):
    """The command line asks for something impossible. The text says what to write instead."""


class CannotDo(Exception):
    """The store, the gateway or a backend fails, so the command cannot be done. Says why."""
