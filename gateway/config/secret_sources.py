"""Sources of secrets: the environment, files, commands, and plug-ins for Vault or a KMS.

Reading blocks: a command or a plug-in may take seconds. A process that has an event loop reads in a
thread, or receives the values from another process (`KnownSecrets`).
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import BaseModel, ValidationError

from gateway.config.problems import ConfigError, whole_file
from gateway.config.secret_position import SecretPositions
from gateway.config.wording import in_words
from gateway.masking import mask_text

_GENERATED_BYTES = 32
_LONGEST_VALUE_BYTES = 64 * 1024
_LONGEST_REASON = 200

FileVersion = tuple[int, int, int] | None
"""Time of the last change, size and inode of a file; None if there is no such file."""


def file_version(path: Path) -> FileVersion:
    """Return the version of a file. It changes when the file or the target of a link changes."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class SecretProvider(Protocol):
    """Interface of a plug-in that reads secrets, such as from Vault.

    A plug-in is a class with a pydantic model `Options`; `__init__` takes the parsed options.
    """

    def read(self, name: str) -> str | bytes:
        """Return the current value of a secret, or raise an exception that says why not.

        May block, and should have a timeout of its own. Is called in any thread, but not by two
        threads for the same secret.
        """
        ...


@dataclass(frozen=True, slots=True)
class FetchedSecret:
    """Value of a secret that a command or a plug-in gave."""

    value: bytes
    at: float
    """Time before the reading, by `time.monotonic`; 0 if another load has read it."""
    every_s: float | None
    """Interval in which it is read again; None if only a reload reads it."""
    fetch: Callable[[], bytes]
    """Read it again. Blocks. Raises ValueError."""


@dataclass(frozen=True, slots=True)
class KnownSecrets:
    """Values that another load or process has fetched, by the secrets' keys."""

    values: Mapping[str, bytes] = field(default_factory=dict)
    """Values to use instead of fetching them."""
    fallback: Mapping[str, bytes] = field(default_factory=dict)
    """Values to use if fetching fails."""
    plugins: dict[str, SecretProvider] = field(default_factory=dict)
    """Plug-ins that exist already, which keep their sessions."""


class SecretReading(Enum):
    """Time at which the secrets of a configuration are read."""

    AT_LOAD = "at load"
    """On loading the configuration, so that a missing secret is one of its errors."""
    WHEN_USED = "when used"
    """At the first use of each value: for commands that need few of them."""
    NEVER = "never"
    """Not at all. A random placeholder takes the place of each value."""


class SecretSources:
    """Sources of the secrets of one load of a configuration. It records what was read."""

    def __init__(
        self,
        base: Path,
        providers: object = None,
        known: KnownSecrets | None = None,
        reading: SecretReading = SecretReading.AT_LOAD,
        positions: SecretPositions | None = None,
    ) -> None:
        """Create the sources. Paths of files are relative to `base`. `providers` is the section
        `secret_providers` of the file, before its validation. `positions` are needed for secrets
        that are read when they are used.
        """
        self.reading = reading
        self._positions = positions
        self._base = base
        self._providers = providers if isinstance(providers, Mapping) else {}
        self._known = known or KnownSecrets()
        self.files: dict[Path, FileVersion] = {}
        """Files that were read, with their versions before that."""
        self.fetched: dict[str, FetchedSecret] = {}
        """Values of commands and plug-ins by key."""

    def known(self, changed: Mapping[str, bytes] | None = None) -> KnownSecrets:
        """Return the values of this load, some of them `changed`, for another load of the same
        configuration.
        """
        values = {key: one.value for key, one in self.fetched.items()}
        return KnownSecrets({**values, **(changed or {})}, {}, self._known.plugins)

    def as_fallback(self) -> KnownSecrets:
        """Return the values for a process that starts later. It fetches them again, and uses these
        only if that fails.
        """
        return KnownSecrets({}, self.known().values)

    def unreadable(self, keys: Mapping[str, object], why: str) -> ConfigError:
        """Return the error for a secret that could not be read when it was used."""
        if self._positions is None:
            return ConfigError([whole_file("configuration", why)])
        return ConfigError([self._positions.problem(keys, why)])

    def from_environment(self, name: str) -> bytes:
        """Return the value of a variable. Raise ValueError."""
        value = os.environb.get(name.encode(), b"")
        if not value:
            raise ValueError(f"environment variable {name} is not set")
        return value

    def from_file(self, name: str, *, generate: bool) -> bytes:
        """Return the content of a file, without the line break at its end. With `generate`, create
        a missing file with a random value. Raise ValueError.
        """
        path = self._base / name
        try:
            if generate and not path.exists():
                _generate(path)
            self.files.setdefault(path.absolute(), file_version(path))
            value = path.read_bytes().rstrip(b"\r\n")
        except OSError as exc:
            raise ValueError(f"cannot read {name}: {exc.strerror}") from exc
        if not value:
            raise ValueError(f"{name} is empty")
        return value

    def from_command(
        self, command: tuple[str, ...], timeout_s: float, every_s: float | None
    ) -> bytes:
        """Return what a program prints. Raise ValueError."""
        key = "command " + json.dumps([command, timeout_s])
        return self._fetched(key, every_s, lambda: run_command(command, timeout_s, self._base))

    def from_provider(self, provider: str, name: str, every_s: float | None) -> bytes:
        """Return what a plug-in gives for a name. Raise ValueError."""
        if provider not in self._providers:
            raise ValueError(f"there is no secret provider '{provider}'")
        key = "provider " + json.dumps([provider, name])
        return self._fetched(key, every_s, lambda: self._ask(provider, name))

    def _fetched(self, key: str, every_s: float | None, fetch: Callable[[], bytes]) -> bytes:
        before = self.fetched.get(key)
        if before is not None:
            value, at = before.value, before.at
            given = [one for one in (every_s, before.every_s) if one is not None]
            every_s = min(given, default=None)
        else:
            at = 0.0 if key in self._known.values else time.monotonic()
            value = self._value(key, fetch)
        self.fetched[key] = FetchedSecret(value, at, every_s, fetch)
        return value

    def _value(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        known = self._known.values.get(key)
        if known is not None:
            return known
        try:
            return fetch()
        except ValueError:
            former = self._known.fallback.get(key)
            if former is None:
                raise
            return former

    def _ask(self, provider: str, name: str) -> bytes:
        settings = self._providers[provider]
        if not isinstance(settings, Mapping):
            raise ValueError(f"secret provider {provider} has problems of its own")
        use, options = str(settings.get("use")), settings.get("options") or {}
        identity = json.dumps([use, options], default=repr)
        plugin = self._known.plugins.get(identity)
        if plugin is None:
            plugin = load_provider(use, options)
            self._known.plugins[identity] = plugin
        try:
            found = plugin.read(name)
        except Exception as exc:  # code of the plug-in may raise anything
            raise ValueError(f"{provider} cannot read {name}: {_reason(exc)}") from exc
        value = found.encode() if isinstance(found, str) else found
        return _checked(value, f"{provider} has nothing for {name}", f"{provider}: {name}")


def load_provider(use: str, options: object) -> SecretProvider:
    """Return the plug-in of a dotted name. Raise ValueError."""
    module_name, _, attribute = use.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute, None)
    except Exception as exc:  # code of the plug-in may raise anything
        raise ValueError(f"cannot import {module_name}: {_reason(exc)}") from exc
    model = getattr(found, "Options", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel) and hasattr(found, "read")):
        raise ValueError(f"{use} is not a class with an Options model and a method read(name)")
    try:
        return cast(SecretProvider, found(model.model_validate(options)))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("options", *first["loc"]))
        message = in_words(first["type"], first["msg"], first.get("ctx", {}))
        raise ValueError(f"{use}: {where}: {message}") from exc
    except Exception as exc:
        raise ValueError(f"{use} cannot be made: {_reason(exc)}") from exc


def run_command(command: tuple[str, ...], timeout_s: float, folder: Path) -> bytes:
    """Return what a program prints, without line breaks at the end. It runs in `folder`, without a
    shell. Raise ValueError if it fails, prints nothing, or takes longer than `timeout_s`.
    """
    name = command[0]
    try:
        process = subprocess.Popen(  # noqa: S603 -- the configuration names the program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        )
    except OSError as exc:
        raise ValueError(f"cannot run {name}: {exc.strerror}") from exc
    with process:
        try:
            printed, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as exc:
            # Its own children may outlive it, and hold the pipe open. It was not waited for yet, so
            # the number of its group is still its own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise ValueError(f"{name} did not end within {timeout_s:g} s") from exc
    if process.returncode:
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        reason = f": {_bounded(lines[-1])}" if lines else ""
        raise ValueError(f"{name} ended with status {process.returncode}{reason}")
    return _checked(printed.rstrip(b"\r\n"), f"{name} printed nothing", name)


def _checked(value: bytes, if_empty: str, what: str) -> bytes:
    if not value:
        raise ValueError(if_empty)
    if len(value) > _LONGEST_VALUE_BYTES:
        raise ValueError(f"{what}: the value is longer than {_LONGEST_VALUE_BYTES} bytes")
    return value


def _reason(exc: Exception) -> str:
    return _bounded(f"{type(exc).__name__}: {exc}")


def _bounded(text: str) -> str:
    return mask_text(" ".join(text.split()))[:_LONGEST_REASON]


def _generate(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # If two processes start at once, the first to create the file determines the secret.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(_GENERATED_BYTES))
