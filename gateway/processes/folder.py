"""Private folder of one gateway, for the configuration that it serves and for Unix sockets."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.server.cannot_start import CannotStart

_PREFIX = "gateway-"
_LONGEST_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""Longest path of a Unix socket. The kernel has room for 108 bytes, or 104 outside Linux, with a
NUL after the path (unix(7)).
"""
_LONGEST_NAME = "streams-9999.sock"
"""Longest name of a socket in the folder."""


def private_folder(
    report: Callable[[str], None],
) -> tempfile.TemporaryDirectory[str]:
    """Return a new folder in which files and Unix sockets can be created. Raise CannotStart if no
    place allows that.

    `report` is called with the reason if the folder named by TMPDIR is not used.
    """
    refused: list[str] = []
    for parent in _candidates():
        try:
            folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent)
        except OSError as exc:
            refused.append(f"{parent}: {exc.strerror}")
            continue
        why = _fault(Path(folder.name))
        if why is None:
            if refused and os.environ.get("TMPDIR"):
                report(f"{'; '.join(refused)}. {parent} is used instead")
            return folder
        refused.append(f"{parent}: {why}")
        folder.cleanup()
    raise CannotStart(
        f"there is no folder for its sockets ({'; '.join(refused)}). "
        "Set TMPDIR to a short path where files can be written."
    )


def _candidates() -> Iterator[str]:
    """Yield possible parents, best first. /dev/shm is writable on a read-only file system too."""
    places = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    places += ["/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", "/run"]  # noqa: S108
    yield from dict.fromkeys(os.path.abspath(place) for place in places if place)


def _fault(folder: Path) -> str | None:
    """Return why a folder cannot be used, or None."""
    if len(os.fsencode(folder / _LONGEST_NAME)) > _LONGEST_PATH_BYTES:
        return f"too long for a Unix socket, whose path has at most {_LONGEST_PATH_BYTES} bytes"
    trial = folder / "trial"
    try:
        trial.write_bytes(b"x" * 4096)  # on a full disk, folders can still be created
        trial.unlink()
    except OSError as exc:
        return str(exc.strerror)
    return None
