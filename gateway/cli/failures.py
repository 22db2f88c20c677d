"""Exit codes and errors of commands, and the text of failed connections."""

from __future__ import annotations

import os
import sys

from gateway.cli import standard_streams

EXIT_OK, EXIT_CONFIG, EXIT_USAGE, EXIT_CANNOT_START, EXIT_CANNOT_DO = range(5)
EXIT_INTERRUPTED = 130
"""Exit code that a shell reports for a program that SIGINT ends."""


def why_unreachable(exc: Exception) -> str:
    """Return why a connection was not made, in the system's words: "Connection refused".

    aiohttp's own text names its arguments.
    """
    cause = getattr(exc, "os_error", exc)
    if isinstance(cause, OSError) and (cause.errno or 0) > 0:
        return os.strerror(cause.errno or 0)
    return str(cause) or "no answer in time"


class WrongUsage(Exception):
    """The command line asks for something impossible. The text says what to write instead."""


class CannotDo(Exception):
    """The store, the gateway or a backend fails, so the command cannot be done. Says why."""


def exit_code(exc: BaseException) -> int | None:
    """Print why a command failed, and return its exit code, or None if the exception is a fault of
    the program.
    """
    if isinstance(exc, WrongUsage | CannotDo):
        print(f"gateway: {exc}", file=sys.stderr)
        return EXIT_USAGE if isinstance(exc, WrongUsage) else EXIT_CANNOT_DO
    if isinstance(exc, KeyboardInterrupt):
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    if isinstance(exc, OSError):
        return _exit_code_of_system_error(exc)
    return _exit_code_of_gateway_error(exc)


def _exit_code_of_system_error(exc: OSError) -> int | None:
    if isinstance(exc, BrokenPipeError):
        # The reader of the output, such as `head`, has enough. Without this, Python would report an
        # error when it flushes the output at exit.
        standard_streams.give_up_output()
        return EXIT_OK
    if exc.filename is not None and exc.strerror:
        print(f"gateway: {exc.filename}: {exc.strerror}", file=sys.stderr)
        return EXIT_CANNOT_START
    if not standard_streams.cannot_write(exc):
        return None
    standard_streams.give_up_output()
    print(f"gateway: cannot write to standard output: {exc.strerror}", file=sys.stderr)
    return EXIT_CANNOT_START


def _exit_code_of_gateway_error(exc: BaseException) -> int | None:
    # Imported here, since a command that succeeds need not import what it does not use.
    from gateway.config import ConfigError

    if not isinstance(exc, ConfigError):
        from gateway.auth.key_file import BadKeyFile
        from gateway.server.cannot_start import CannotStart

        if isinstance(exc, CannotStart):
            print(f"gateway: {exc}", file=sys.stderr)
            return EXIT_CANNOT_START
        if not isinstance(exc, BadKeyFile):
            return None
    print(exc, file=sys.stderr)
    return EXIT_CONFIG
