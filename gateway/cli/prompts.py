"""`gateway prompts`: read the files of the prompt audit."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gateway.cli.failures import EXIT_CANNOT_DO, EXIT_OK, CannotDo, WrongUsage
from gateway.cli.table import print_table
from gateway.config import load_for_command, models
from gateway.config.units import parse_duration
from gateway.prompt_audit.data_keys import BadKey, NoKey, OpeningKey, PrivateKey, SecretKey
from gateway.prompt_audit.folder import AuditFile, AuditFolder
from gateway.prompt_audit.line_file import CutOff, Damaged, read_lines

_PRINCIPAL = {"subject": "subject", "tenant": "tenant", "team": "team", "key_id": "key-id"}
_FACTS = ("request_id", "trace_id", "route", "model", "upstream", "verdict", "cache")
Wanted = Callable[[Mapping[str, Any]], bool]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway prompts`."""
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    read = below.add_parser(
        "read",
        help="print records as JSON lines",
        description="Decrypts and decompresses files. A file that its writer did not end is read "
        "as far as it goes.",
    )
    _add_files(read)
    _add_keys(read)
    _add_filter(read)
    read.set_defaults(run=_read)
    files = below.add_parser("files", help="list the files in the folder of the prompt audit")
    _add_files(files)
    files.set_defaults(run=_files)


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="files or folders, or - for standard input; default: the folder in the configuration",
    )
    parser.add_argument(
        *("--config", "-c"),
        type=Path,
        metavar="FILE",
        help="configuration file, for the folder and its keys; default: config.yaml, if no PATH is "
        "given",
    )


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--identity",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="PEM file of a private key; may be repeated",
    )
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file with the password of --identity"
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="ID=FILE",
        help="id of a shared secret, and the file that holds it; may be repeated",
    )


def _add_filter(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_argument_group("records to print")
    chosen.add_argument(
        "--since", metavar="TIME", help="from this time on: 2026-11-30, 2026-11-30T12:00, or 2h ago"
    )
    chosen.add_argument("--until", metavar="TIME", help="before this time")
    for name in _FACTS:
        chosen.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=f"of this {name}")
    for name, word in _PRINCIPAL.items():
        chosen.add_argument(f"--{word}", dest=name, metavar="VALUE", help=f"of this {word}")
    chosen.add_argument("--contains", metavar="TEXT", help="with this text in prompt or answer")
    chosen.add_argument("--count", action="store_true", help="print the number of records only")


def _read(arguments: argparse.Namespace) -> int:
    wanted = _filter(arguments)
    paths, keys = _given(arguments)
    failed = count = 0
    for path in paths:
        name = "<stdin>" if path is None else str(path)
        try:
            for line in _records(path, keys, wanted):
                count += 1
                if not arguments.count:
                    print(line.decode("utf-8", "replace"))
        except CutOff:
            print(f"gateway: {name}: ends early, after its last complete record", file=sys.stderr)
        except (Damaged, NoKey) as exc:
            failed += 1
            print(f"gateway: {name}: {exc}", file=sys.stderr)
    if arguments.count:
        print(count)
    return EXIT_CANNOT_DO if failed else EXIT_OK


def _files(arguments: argparse.Namespace) -> int:
    rows = [("file", "begun", "changed", "bytes", "state")]
    for folder in _folders(arguments):
        for file in AuditFolder(folder).files():
            rows.append(
                (
                    file.path.name,
                    _time_text(file.created_at),
                    _time_text(file.changed_at),
                    str(file.size_bytes),
                    "open" if file.is_open else "closed",
                )
            )
    print_table(rows)
    return EXIT_OK


def _records(path: Path | None, keys: Sequence[OpeningKey], wanted: Wanted) -> Iterator[bytes]:
    """Yield the lines of the records that are wanted. Raise CutOff, Damaged or NoKey."""
    if path is None:
        yield from _chosen(sys.stdin.buffer, keys, wanted)
        return
    with path.open("rb") as file:
        yield from _chosen(file, keys, wanted)


def _chosen(file: BinaryIO, keys: Sequence[OpeningKey], wanted: Wanted) -> Iterator[bytes]:
    for line in read_lines(file, keys):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise Damaged("it holds a line that is no record") from None
        if isinstance(record, dict) and wanted(record):
            yield line


# -- files and keys --------------------------------------------------------------------------------


def _given(arguments: argparse.Namespace) -> tuple[list[Path | None], list[OpeningKey]]:
    """Return the files to read, with None for standard input, and the keys."""
    keys: list[OpeningKey] = []
    settings = _settings(arguments)
    encryption = None if settings is None else settings.encryption
    try:
        for name, one in {} if encryption is None else encryption.keys.items():
            if isinstance(one, models.AuditSecretKey):
                keys.append(SecretKey.parse(name, one.secret.reveal()))
        for text in arguments.secret:
            name, is_pair, file = text.partition("=")
            if not is_pair:
                raise WrongUsage("--secret: write ID=FILE")
            keys.append(SecretKey.parse(name, Path(file).read_bytes()))
        password = None
        if arguments.password_file is not None:
            password = arguments.password_file.read_bytes().rstrip(b"\r\n")
        keys += [PrivateKey.parse(file.read_bytes(), password) for file in arguments.identity]
    except BadKey as exc:
        raise CannotDo(f"a key {exc}") from exc
    return list(_paths(arguments)), keys


def _settings(arguments: argparse.Namespace) -> models.PromptAuditSettings | None:
    """Return the section of the configuration; None if no file is needed. Raise WrongUsage."""
    if arguments.config is None and arguments.paths:
        return None
    settings = load_for_command(arguments.config or Path("config.yaml")).prompt_audit
    if settings is None and not arguments.paths:
        raise WrongUsage("the configuration has no `prompt_audit`: name files or folders")
    return settings


def _paths(arguments: argparse.Namespace) -> Iterable[Path | None]:
    for path in arguments.paths or _folders(arguments):
        if str(path) == "-":
            yield None
        elif path.is_dir():
            yield from (file.path for file in _in(path))
        else:
            yield path


def _in(folder: Path) -> list[AuditFile]:
    """Return the audit files in a folder and those below, the oldest first: a copy of a bucket has
    a folder for each day.
    """
    folders = [folder, *sorted(one for one in folder.rglob("*") if one.is_dir())]
    return [file for one in folders for file in AuditFolder(one).files()]


def _folders(arguments: argparse.Namespace) -> list[Path]:
    if arguments.paths:
        return list(arguments.paths)
    settings = _settings(arguments)
    assert settings is not None  # _settings has raised otherwise
    return [Path(settings.directory)]


# -- filter ----------------------------------------------------------------------------------------


def _filter(arguments: argparse.Namespace) -> Wanted:
    """Return the function that tells whether a record is wanted. Raise WrongUsage."""
    since, until = _time("--since", arguments.since), _time("--until", arguments.until)
    facts = {name: getattr(arguments, name) for name in _FACTS if getattr(arguments, name)}
    caller = {name: getattr(arguments, name) for name in _PRINCIPAL if getattr(arguments, name)}
    text = arguments.contains

    def wanted(record: Mapping[str, Any]) -> bool:
        at = str(record.get("time", ""))
        principal = record.get("principal") or {}
        return (
            (since is None or at >= since)
            and (until is None or at < until)
            and all(record.get(name) == value for name, value in facts.items())
            and all(principal.get(name) == value for name, value in caller.items())
            and (
                text is None
                or _has(record.get("request"), text)
                or _has(record.get("answer"), text)
            )
        )

    return wanted


def _has(value: Any, text: str) -> bool:
    """Tell whether a text in a JSON value contains `text`."""
    if isinstance(value, str):
        return text in value
    if isinstance(value, dict):
        return any(_has(one, text) for one in value.values())
    return isinstance(value, list) and any(_has(one, text) for one in value)


def _time(option: str, text: str | None) -> str | None:
    """Return a time as records have it. Raise WrongUsage."""
    if text is None:
        return None
    try:
        if match := re.fullmatch(r"(\S+) ago", text.strip()):
            at = datetime.now(UTC) - timedelta(seconds=parse_duration(match[1]))
        else:
            at = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(f"{option}: write 2026-11-30, 2026-11-30T12:00Z or '2h ago'") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
