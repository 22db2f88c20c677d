"""Section `prompt_audit`, and the settings of routes that are recorded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.config.models.egress import ProxySettings
from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import FileName, Name, Url
from gateway.config.units import Duration, Share, Size


class AuditBucket(Section):
    """Bucket of S3, or of a service that imitates it, such as MinIO, Ceph or R2."""

    endpoint: Url = Field(
        description="Address of the service without the bucket, such as "
        "https://s3.eu-central-1.amazonaws.com."
    )
    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Name of the bucket."
    )
    prefix: str = Field(
        "",
        max_length=512,
        pattern=r"^(?:[A-Za-z0-9!_.*'()=-][A-Za-z0-9!_.*'()=/-]*)?$",
        description="Prefix of object names, such as gateway/. The day follows: "
        "gateway/2026/11/30/FILE.",
    )
    region: str = Field(
        "us-east-1",
        pattern=r"^[a-z0-9-]{1,64}$",
        description="Region, which is part of signatures.",
    )
    access_key: Secret = Field(description="Id of the access key.")
    secret_key: Secret = Field(description="Secret access key.")
    session_token: Secret | None = Field(
        None, description="Token of temporary credentials. Read it from a file that rotates."
    )
    bucket_in: Literal["path", "host"] = Field(
        "path", description="Part of the URL that names the bucket: the path, or the host name."
    )
    timeout: Duration = Field(300.0, gt=0, description="Longest time for the upload of one file.")
    spool: Size = Field(
        1024**3,
        ge=16 * 1024**2,
        description="Disk space in `directory` for files that wait for their upload, of all "
        "workers. Beyond it, records wait in memory.",
    )
    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust, instead of the system's."
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy to the service. `environment`: the proxy in HTTPS_PROXY, ALL_PROXY "
        "and NO_PROXY.",
    )


class AuditSecretKey(Section):
    """Shared secret, which seals files and opens them."""

    secret: Secret = Field(
        description="32 bytes in base64 or hexadecimal, such as `openssl rand -hex 32` prints."
    )


class AuditPublicKey(Section):
    """Public key, which seals files. The gateway cannot open them."""

    public_key: FileName = Field(
        description="PEM file of an X25519 key, or of an RSA key of 2048 bits or more."
    )


class AuditEncryption(Section):
    """Encryption of files. Each has a data key of its own (AES-256-GCM), wrapped by these keys."""

    keys: dict[Name, AuditSecretKey | AuditPublicKey] = Field(
        min_length=1,
        max_length=20,
        description="Keys by id. Each file names the id of its key. Keep old keys here for as "
        "long as their files have to be readable.",
    )
    use: tuple[Name, ...] = Field(
        (),
        description="Ids of the keys that encrypt new files; each of them can decrypt the file. "
        "Empty: all.",
    )


class AuditRotation(Section):
    """Size and age at which a file is closed, and another one begins."""

    size: Size = Field(
        64 * 1024**2, ge=64 * 1024, le=5 * 1024**3, description="Size at which a file is closed."
    )
    age: Duration = Field(3600.0, ge=1, le=86400.0, description="Age at which a file is closed.")


class PromptAuditSettings(Section):
    """Records of prompts and answers, as JSON lines in files or in a bucket. Routes are recorded
    only if they have `audit_prompts`.
    """

    directory: FileName = Field(
        ".gateway/prompts",
        validate_default=True,
        description="Folder of the files, relative to the configuration's folder. It is created "
        "with mode 0700. With `s3`, files wait there for their upload.",
    )
    s3: AuditBucket | None = Field(None, description="Upload closed files to a bucket.")
    rotate: AuditRotation = Field(
        default_factory=AuditRotation,
        description="Size and age at which a file is closed and the next one begins.",
    )
    gzip: bool = Field(True, description="Compress files.")
    flush: Duration = Field(
        1.0,
        ge=0.01,
        le=60,
        description="Longest time that a record waits for others to be written with. A process "
        "that is killed loses those that wait.",
    )
    sync: Literal["batch", "close", "never"] = Field(
        "batch",
        description="Time of fsync. `batch`: after each batch of records. `close`: when a file "
        "is closed. `never`: left to the system.",
    )
    retention: Duration | None = Field(
        None,
        ge=3600,
        description="Age at which files in `directory` are removed; null: never. In a bucket, "
        "its lifecycle rules remove them.",
    )
    encryption: AuditEncryption | None = Field(None, description="Encrypt files.")
    queue: Size = Field(
        64 * 1024**2,
        ge=1024**2,
        description="Memory of one worker for records that wait to be written.",
    )
    on_full: Literal["drop", "refuse"] = Field(
        "drop",
        description="Mode while the queue is full, because the destination is slow or down. "
        "`drop`: drop new records, and count them. `refuse`: refuse requests that would be "
        "recorded, with 503 `audit_unavailable`.",
    )


class RouteAudit(Section):
    """Prompt audit of a route. `audit_prompts: {}` uses all the defaults."""

    sample: Share = Field(1.0, description="Share of requests that are recorded.")
    redact: bool | Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        True,
        description="true: mask keys, tokens, e-mail addresses and what `telemetry.traces.redact` "
        "finds. Names of hooks of the type `redact`: redact by these, too. false: nothing is "
        "masked.",
    )
    request: bool = Field(True, description="Record the bodies of requests.")
    answer: bool = Field(True, description="Record answers.")
    max_bytes: Size = Field(
        256 * 1024,
        ge=1024,
        le=16 * 1024**2,
        description="Largest recorded body of a request, and text of an answer. A longer one is "
        "cut, and the record says so.",
    )
    media: bool = Field(
        False,
        description="Record images, sounds and other data in base64. false: record their size.",
    )
