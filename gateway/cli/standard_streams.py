"""Handling of standard input, output and error if some are closed, or cannot be written."""

from __future__ import annotations

import errno
import os
import sys

_NOWHERE = frozenset({errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def replace_closed() -> None:
    """Replace closed standard streams by the null device.

    Otherwise a socket would get the descriptor 0, 1 or 2: log lines would be written to a client,
    and libuv ends the process when it closes such a descriptor. Writing to a standard output that
    was closed still fails.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            how = os.O_WRONLY if name == "stderr" else os.O_RDONLY
            opened = os.open(os.devnull, how)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 -- for ever


def cannot_write(exc: OSError) -> bool:
    """Tell whether an error means that standard output cannot be written."""
    return exc.errno in _NOWHERE


def give_up_output() -> None:
    """Discard the rest of the output buffer. Otherwise Python would report an error at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
