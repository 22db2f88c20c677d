"""API keys in a YAML file, which is read when it changes, and written atomically.

keys:
  - id: k7m2…
    owner: ann@example.com
    hash: sha256:SALT:HASH
    models: [llama-3]
    expires: 2027-01-01T00:00:00Z
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.auth.api_key import ApiKey
from gateway.auth.key_record import KeyRecord, from_record, to_record

_CHECK_S = 0.5
"""Time between two checks for changes. A revocation takes effect within it."""


class BadKeyFile(Exception):
    """The file is not a list of keys. The text says what is wrong, and contains no hash."""


class _KeyFileDocument(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[KeyRecord, ...] = ()


class KeyFile:
    """API keys of a file, by id."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] = time.monotonic,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Read the file. If a later change cannot be read, the keys before it stay in use, and
        `report` is called with the reason.

        Raise BadKeyFile. A missing file counts as a file without keys.
        """
        self._path = path
        self._now = now
        self._report = report
        self._looked_at = now()
        self._seen = self._version()
        self._keys = read(path)

    def find(self, key_id: str) -> ApiKey | None:
        """Return the key with this id, or None. The result is at most half a second old."""
        now = self._now()
        if now >= self._looked_at + _CHECK_S:
            self._looked_at = now
            self._look()
        return self._keys.get(key_id)

    async def fetch(self, key_id: str) -> None:
        pass  # every key is at hand

    @property
    def ready(self) -> bool:
        return True

    def start(self) -> None:
        pass  # changes are looked for when a key is requested

    def close(self) -> None:
        pass

    def _look(self) -> None:
        version = self._version()
        if version == self._seen:
            return
        try:
            self._keys = read(self._path)
        except BadKeyFile as exc:
            self._report(f"the keys stay as they were: {exc}")
        self._seen = version

    def _version(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def read(path: Path) -> dict[str, ApiKey]:
    """Return all keys of a file by id; none if there is no file. Raise BadKeyFile."""
    try:
        document: Any = yaml.safe_load(path.read_bytes())
        parsed = _KeyFileDocument.model_validate(document or {})
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise BadKeyFile(f"{path}: cannot be read: {exc.strerror}") from exc
    except yaml.YAMLError as exc:
        raise BadKeyFile(f"{path}: not valid YAML") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadKeyFile(f"{path}: {where}: {first['msg']}") from exc
    return {record.id: from_record(record) for record in parsed.keys}


@contextlib.contextmanager
def editing(path: Path) -> Iterator[dict[str, ApiKey]]:
    """Edit the keys of a file: yield them in a dict, and write the dict to the file at the end.

    Editors wait for each other. Readers see the file either before or after the change. Raise
    BadKeyFile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read(path)
        yield keys
        _write(path, keys)


def _write(path: Path, keys: Mapping[str, ApiKey]) -> None:
    records = [to_record(key) for key in keys.values()]
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("# API keys, by `gateway keys`. Only salted hashes are kept.\n")
            yaml.safe_dump({"keys": records}, file, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
