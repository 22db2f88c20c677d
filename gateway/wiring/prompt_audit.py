"""Construction of the prompt audit."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config import Config, models
from gateway.config.problems import ConfigPath, Fault
from gateway.dialects import DIALECTS
from gateway.http.aws_signature import AwsCredentials
from gateway.limiting.prices import price_at
from gateway.masking import Redaction
from gateway.prompt_audit.audit_log import AuditCounts, Destination, PromptLog, QueueOptions
from gateway.prompt_audit.data_keys import BadKey, PublicKey, SecretKey, WrappingKey
from gateway.prompt_audit.file_writer import FileOptions, Sync
from gateway.prompt_audit.folder import AuditFolder, FolderUnusable
from gateway.prompt_audit.record import Price, RecordOptions
from gateway.prompt_audit.redaction import RecordRedaction
from gateway.prompt_audit.s3_bucket import BucketOptions, S3Bucket
from gateway.prompt_audit.uploads import FileUploads
from gateway.usage import Usage
from gateway.wiring.egress import proxy_of
from gateway.wiring.hooks import Hooks
from gateway.wiring.prices import prices

_PATH: ConfigPath = ("prompt_audit",)


def audit_log(
    config: Config, report: Callable[[str, str], None], faults: list[Fault]
) -> PromptLog | None:
    """Return the log of a configuration; None if there is none, or it cannot be used, which is
    added to `faults`. `report` is called with the state of its destination, `failing` or `working`,
    and the reason.
    """
    settings = config.prompt_audit
    if settings is None:
        return None
    folder = AuditFolder(Path(settings.directory))
    try:
        folder.check()
    except FolderUnusable as exc:
        faults.append(((*_PATH, "directory"), str(exc)))
        return None
    keys = _keys(settings.encryption, faults)
    if keys is None:
        return None
    destination, counts = Destination(report), AuditCounts()
    bucket, uploads = settings.s3, None
    if bucket is not None:
        uploads = FileUploads(folder, _bucket(bucket), bucket.prefix, destination, counts)
    files = FileOptions(
        gzip=settings.gzip,
        keys=keys,
        size_bytes=settings.rotate.size,
        age_s=settings.rotate.age,
        sync=Sync(settings.sync),
        room_bytes=None if bucket is None else bucket.spool,
    )
    queue = QueueOptions(
        settings.queue, settings.on_full == "refuse", settings.retention, settings.flush
    )
    return PromptLog(folder, files, queue, destination, counts, uploads)


def record_options(
    config: Config, settings: models.RouteAudit, dialect: str, hooks: Hooks
) -> RecordOptions:
    """Return the options of the records of a route."""
    redaction = None
    if settings.redact is not False:
        traces = config.telemetry.traces
        names = settings.redact if isinstance(settings.redact, tuple) else ()
        redaction = RecordRedaction(
            Redaction(() if traces is None else traces.redact), hooks.redactors(config, names)
        )
    return RecordOptions(
        sample=settings.sample,
        request=settings.request,
        answer=settings.answer,
        cap_bytes=settings.max_bytes,
        media=settings.media,
        redaction=redaction,
        dialect=DIALECTS[dialect],
    )


def record_price(config: Config) -> Price:
    """Return the function that tells the cost of a request."""
    of_models = prices(config)

    def price(model: str, upstream: str | None, used: Usage) -> tuple[float, str] | None:
        found = price_at(of_models, model, upstream)
        if found is None:
            return None
        own, currency = found
        return own.of(used) / 1e6, currency

    return price


def _keys(
    encryption: models.AuditEncryption | None, faults: list[Fault]
) -> list[WrappingKey] | None:
    """Return the keys that seal new files; None if one cannot be used."""
    if encryption is None:
        return []
    made: dict[str, WrappingKey] = {}
    for name, settings in encryption.keys.items():
        path = (*_PATH, "encryption", "keys", name)
        try:
            if isinstance(settings, models.AuditSecretKey):
                made[name] = SecretKey.parse(name, settings.secret.reveal())
            else:
                made[name] = PublicKey.parse(name, Path(settings.public_key).read_bytes())
        except BadKey as exc:
            faults.append((path, str(exc)))
        except OSError as exc:
            faults.append((path, f"cannot be read: {exc.strerror}"))
    if len(made) < len(encryption.keys):
        return None
    return [made[name] for name in encryption.use or encryption.keys]


def _bucket(settings: models.AuditBucket) -> S3Bucket:
    token = settings.session_token
    credentials = AwsCredentials(
        settings.access_key.reveal().decode(),
        settings.secret_key.reveal().decode(),
        None if token is None else token.reveal().decode(),
    )
    return S3Bucket(
        BucketOptions(
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            region=settings.region,
            credentials=credentials,
            in_path=settings.bucket_in == "path",
            timeout_s=settings.timeout,
            context=ssl.create_default_context(cafile=settings.ca) if settings.ca else None,
            proxy=proxy_of(settings.proxy, urlsplit(settings.endpoint).scheme),
        )
    )
