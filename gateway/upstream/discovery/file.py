"""File discovery: endpoints from a YAML or JSON file that another program writes.

endpoints:
  - {url: http://10.0.0.5:8000, weight: 2}
  - {url: http://10.0.0.6:8000, priority: 1}

The file is read again when it changes. The writer should replace the file in one step, by a rename.
If the gateway reads a file that is half written, it reads it again, because the file changes once
more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gateway.http.address_policy import AddressPolicy
from gateway.http.urls import endpoint_fault
from gateway.load.tasks import BackgroundLoop
from gateway.upstream.discovery.source import Changed, Found, Latest, Report

_EVERY_S = 0.5
_SIZE_CAP_BYTES = 1024 * 1024
_NOT_READ = (0, 0, 0)
"""Version that no file has; the file is read at the first look."""


class BadEndpointFile(Exception):
    """The file lists no usable endpoints. The message says what is wrong, and where."""


def _endpoint_url(value: str) -> str:
    fault = endpoint_fault(value)
    if fault is not None:
        raise ValueError(fault)
    return value


class _Endpoint(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, AfterValidator(_endpoint_url)]
    weight: int = Field(1, ge=1, le=1000)
    priority: int = Field(0, ge=0, le=65535)


class _EndpointFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    endpoints: list[_Endpoint]


class FileSource(BackgroundLoop):
    """Endpoints from a file."""

    def __init__(
        self,
        path: Path,
        policy: AddressPolicy,
        *,
        changed: Changed,
        report: Report,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._path = path
        self._policy = policy
        self._latest = Latest(str(path), changed, report)
        self._pause = pause
        self._seen: tuple[int, int, int] | None = _NOT_READ

    async def _run(self) -> None:
        while True:
            # In a thread, because the file may be long and its disk remote.
            version = await asyncio.to_thread(_version, self._path)
            if version != self._seen:
                await self._look()
                self._seen = version
            await self._pause(_EVERY_S)

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(read, self._path, self._policy)
        except BadEndpointFile as exc:
            self._latest.failing(str(exc), str(exc))
        else:
            self._latest.show(found)
            self._latest.recovered()


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read(path: Path, policy: AddressPolicy) -> Sequence[Found]:
    """Return the endpoints that a file lists. Raise BadEndpointFile if it is invalid."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_CAP_BYTES + 1)
    except OSError as exc:
        raise BadEndpointFile(f"cannot be read: {exc.strerror}") from exc
    if len(data) > _SIZE_CAP_BYTES:
        raise BadEndpointFile("is larger than 1 MiB")
    listed = _parse(data, _from_json if path.suffix == ".json" else _from_yaml)
    if not listed:
        raise BadEndpointFile("lists no endpoints")
    for index, endpoint in enumerate(listed):
        host = urlsplit(endpoint.url).hostname or ""
        why = policy.refused(host)
        if why is not None:
            raise BadEndpointFile(f"endpoints[{index}].url: {host} {why}")
    return [
        Found(endpoint.url, urlsplit(endpoint.url).netloc, endpoint.weight, endpoint.priority)
        for endpoint in listed
    ]


def _parse(data: bytes, load: Callable[[bytes], Any]) -> Sequence[_Endpoint]:
    document = load(data)
    if not isinstance(document, dict):
        raise BadEndpointFile("is not a mapping with `endpoints`")
    try:
        return _EndpointFile.model_validate(document).endpoints
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{x}]" if isinstance(x, int) else f".{x}" for x in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise BadEndpointFile(f"{where.removeprefix('.')}: {what[:1].lower()}{what[1:]}") from exc


def _from_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except json.JSONDecodeError as exc:
        raise BadEndpointFile(f"line {exc.lineno}: not valid JSON: {exc.msg}") from exc
    except (ValueError, RecursionError) as exc:
        raise BadEndpointFile(f"not valid JSON: {exc}") from exc


def _from_yaml(data: bytes) -> Any:
    try:
        return yaml.safe_load(data)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise BadEndpointFile(f"{line}not valid YAML: {exc.problem or exc.context}") from exc
    # YAML constructors raise various errors for a scalar that is invalid, such as a 13th month.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as exc:
        raise BadEndpointFile(f"not valid YAML: {exc}") from exc
