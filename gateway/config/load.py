"""Configuration loader: one or several YAML files, variables, and all problems at once.

A configuration is read from the files once. Other processes of the gateway load the same texts
again (`keep`, `Loaded.document`), so that all serve the same.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from gateway.config.advice import advise
from gateway.config.check import check
from gateway.config.include import (
    ConfigText,
    MergedDocument,
    find_files,
    included_texts,
    patterns_of,
    read_text,
)
from gateway.config.model_errors import translate
from gateway.config.models import Config
from gateway.config.overrides import Override, apply_overrides
from gateway.config.problems import ConfigError, ConfigSource, Problem, in_order, whole_file
from gateway.config.references import check_references
from gateway.config.secret_position import SecretPositions
from gateway.config.secret_sources import (
    FileVersion,
    KnownSecrets,
    SecretReading,
    SecretSources,
    file_version,
)
from gateway.config.yaml_reader import YamlReader


@dataclass(frozen=True, slots=True)
class Loaded:
    """Loaded configuration, with its source."""

    config: Config
    source: ConfigSource
    texts: tuple[ConfigText, ...]
    """Texts of the files, the main one first."""
    base: Path
    """Folder that relative paths start from."""
    included: tuple[str, ...]
    """Paths and patterns of the included files."""
    overrides: tuple[Override, ...]
    """Values that environment variables have set."""
    secrets: SecretSources
    """Secrets that were read."""

    def warnings(self) -> list[Problem]:
        """Return the warnings about settings that are valid but rarely intended, by line."""
        return in_order(self.source.problem(*finding) for finding in advise(self.config))

    def document(self) -> dict[str, Any]:
        """Return the texts as JSON, for another process. It contains no secrets."""
        return {
            "texts": [[one.name, one.text, one.entry] for one in self.texts],
            "base": str(self.base.absolute()),
        }

    def document_with_secrets(self) -> dict[str, Any]:
        """Return `document` with the values of commands and plug-ins, which are not run again. The
        result must not be written to a file.
        """
        values = self.secrets.known().values
        encoded = {key: base64.b64encode(value).decode() for key, value in values.items()}
        return {**self.document(), "secrets": encoded}


def load(path: Path) -> Config:
    """Return the configuration of a file. Raise ConfigError with every problem found."""
    return load_source(path).config


def load_for_command(path: Path) -> Config:
    """Return the configuration of a file for a command that needs few of the secrets. Each is read
    when it is used. Raise ConfigError.
    """
    return load_source(path, reading=SecretReading.WHEN_USED).config


def load_source(path: Path, *, reading: SecretReading = SecretReading.AT_LOAD) -> Loaded:
    """Load a file and the files that it includes. Raise ConfigError. Blocks while secrets are
    read.
    """
    main = ConfigText(str(path), read_text(path, str(path)))
    texts = [main, *included_texts(main, path.parent)]
    return load_texts(texts, path.parent, None, os.environ, reading)


def included_patterns(path: Path) -> tuple[str, ...]:
    """Return the paths and patterns of the files that a file includes; none if it is invalid."""
    try:
        text = read_text(path, str(path))
    except ConfigError:
        return ()
    return patterns_of(YamlReader(str(path)).read(text)) if "include" in text else ()


def file_versions(main: Path, included: Sequence[str]) -> dict[Path, FileVersion]:
    """Return the versions of all files of a configuration, also of those that are new."""
    found = [one for pattern in included for one in find_files(pattern, main.parent)]
    return {path: file_version(path) for path in (main, *(main.parent / one for one in found))}


def load_again(loaded: Loaded, known: KnownSecrets) -> Loaded:
    """Load the same texts with the present values of the secrets. Raise ConfigError."""
    return load_texts(loaded.texts, loaded.base, known, os.environ)


def keep(loaded: Loaded, path: Path) -> None:
    """Write the loaded texts to a file, so that another process can load the same. The file
    contains no secrets, only references to them. Each call writes another content.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(orjson.dumps({**loaded.document(), "kept_at": time.time_ns()}))
    fresh.replace(path)


def load_kept(path: Path, known: KnownSecrets | None = None) -> Loaded:
    """Load a file that `keep` has written. Raise ConfigError."""
    return load_document(orjson.loads(path.read_bytes()), known)


def load_document(document: Mapping[str, Any], known: KnownSecrets | None = None) -> Loaded:
    """Load a document of `Loaded`. Raise ConfigError."""
    texts = [ConfigText(*one) for one in document["texts"]]
    if "secrets" in document:
        encoded = document["secrets"]
        known = KnownSecrets({key: base64.b64decode(one) for key, one in encoded.items()})
    return load_texts(texts, Path(document["base"]), known, os.environ)


def load_text(text: str, *, base: Path = Path()) -> Config:
    """Return the configuration of a text, without overrides of the environment. Paths are relative
    to `base`. Raise ConfigError.
    """
    return load_source_text(text, name="config.yaml", base=base).config


def load_source_text(
    text: str,
    *,
    name: str,
    base: Path,
    environ: Mapping[str, str] | None = None,
    reading: SecretReading = SecretReading.AT_LOAD,
) -> Loaded:
    """Load a text like `load_source`, with the overrides in `environ`. Raise ConfigError."""
    main = ConfigText(name, text)
    texts = [main, *included_texts(main, base)]
    return load_texts(texts, base, None, environ or {}, reading)


def load_texts(
    texts: Sequence[ConfigText],
    base: Path,
    known: KnownSecrets | None,
    environ: Mapping[str, str],
    reading: SecretReading = SecretReading.AT_LOAD,
) -> Loaded:
    """Load the texts of a configuration, the main one first. Raise ConfigError."""
    main = texts[0]
    reader = YamlReader(main.name)
    document = reader.read(main.text)
    if document is None:
        raise ConfigError(reader.problems or [whole_file(main.name, "is empty")])
    merged = MergedDocument(document, main.name, reader.positions, problems=reader.problems)
    overrides: tuple[Override, ...] = ()
    included = patterns_of(document)
    if isinstance(document, dict):
        for text in texts[1:]:
            merged.include(text, _owned_names(document, text.entry))
        overrides = apply_overrides(merged, environ)
    document, source = merged.document, merged.source
    # A value that could not be read is reported only once.
    unread = {problem.path for problem in merged.problems}
    problems = [source.problem(*finding) for finding in check_references(document)]
    providers = document.get("secret_providers") if isinstance(document, dict) else None
    if not merged.is_owned:
        reading = SecretReading.NEVER
    secrets = SecretSources(base, providers, known, reading, SecretPositions(document, source))
    config: Config | None = None
    try:
        config = Config.model_validate(document, context={"base": base, "secrets": secrets})
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_input=False)
        problems += translate(details, source, document)
    else:
        problems += (source.problem(*finding) for finding in check(config))
    problems = [*merged.problems, *(p for p in problems if p.path not in unread)]
    if config is None or problems:
        raise ConfigError(problems)
    return Loaded(config, source, tuple(texts), base, included, overrides, secrets)


def _owned_names(document: Mapping[str, Any], entry: int | None) -> object:
    """Return the `owns` of an `include` entry; None if it has none."""
    entries = document.get("include")
    item = entries[entry] if isinstance(entries, tuple) and entry is not None else None
    return item.get("owns") if isinstance(item, dict) else None
