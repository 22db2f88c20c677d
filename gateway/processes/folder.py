"""The private folder of one gateway: for the configuration it serves, and for Unix sockets."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.server.serving import CannotStart

_PREFIX = "gateway-"
_LONGEST_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""Of a Unix socket: the kernel keeps 108 bytes, or 104, with a NUL behind the path (unix(7))."""
_LONGEST_NAME = "streams-9999.sock"
"""Of the sockets in it."""


def private_folder(
    report: Callable[[str], None],
) -> tempfile.TemporaryDirectory[str]:
    """A new folder where files and Unix sockets can be made. Raise CannotStart if there is none.

    `report` is told why the folder that TMPDIR names is not used.
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
    """Where it may be, the best first. /dev/shm is there where the file system is read-only."""
    places = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    places += ["/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", "/run"]  # noqa: S108
    yield from dict.fromkeys(os.path.abspath(place) for place in places if place)


def _fault(folder: Path) -> str | None:
    """Why it cannot be used, if so."""
    if len(os.fsencode(folder / _LONGEST_NAME)) > _LONGEST_PATH_BYTES:
        return f"too long for a Unix socket, whose path has at most {_LONGEST_PATH_BYTES} bytes"
    trial = folder / "trial"
    try:
        trial.write_bytes(b"x" * 4096)  # a full disk still makes folders
        trial.unlink()
    except OSError as exc:
        return str(exc.strerror)
    return None
