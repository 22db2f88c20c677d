"""Access of operators in the admin process: its construction from the configuration, its changes,
and its end.
"""

from __future__ import annotations

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.admin.access import access_of
from gateway.admin.audit import entry
from gateway.admin.audit_api import AuditApi
from gateway.admin.audit_log import AuditLog
from gateway.admin.auth import AdminAuth
from gateway.admin.operator import Operator
from gateway.admin.operator_store import OperatorStore
from gateway.admin.pages import Pages
from gateway.admin.pending_sign_ins import PendingSignIns
from gateway.admin.reload import ASKED, Outcome, Reloader
from gateway.admin.reload_audit import reload_entry
from gateway.admin.session_api import SessionApi
from gateway.admin.sessions import OperatorSessions
from gateway.admin.sign_in import SignIn
from gateway.config import Config, models
from gateway.routing.forwarded import TrustedProxies
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.merge import Merged
from gateway.wiring.sign_in import oidc_client


class OperatorAccess:
    """Sessions, sign-in, tokens and the audit log of one gateway."""

    def __init__(self, reloader: Reloader, logger: FilteringBoundLogger, public: str) -> None:
        """`public` is the URL of the public listener."""
        self._reloader = reloader
        self._logger = logger
        self._public = public
        config = reloader.loaded.config
        self._store = OperatorStore(config.store.location)
        audit = _audit_settings(config)
        self.audit = AuditLog(
            logger, self._store.records, retention_s=audit.retention, most=audit.most
        )
        self.auth = AdminAuth(
            access_of(config), OperatorSessions(self._store.records), report=self._report_tokens
        )
        self.auth.proxies = TrustedProxies(config.server.trusted_proxies)
        self._pages = Pages(lambda request: self._sign_in.prefix(request))
        self._sign_in = SignIn(
            self.auth, PendingSignIns(self._store.records), self._pages, logger, oidc_client
        )

    @property
    def routes(self) -> list[web.RouteDef]:
        """Routes of pages and the sign-in."""
        return [*self._pages.routes(), *self._sign_in.routes]

    @property
    def apis(self) -> tuple[SessionApi, AuditApi]:
        """Handlers of the admin API."""
        sessions = SessionApi(self.auth, self._sign_in, self._config, self._public)
        return sessions, AuditApi(self.audit, self._config)

    def counts(self) -> Merged:
        """Return the numbers of sign-ins, for the metrics."""
        counts = self._sign_in.counts
        return {table.SIGN_INS.name: {labels: float(count) for labels, count in counts.items()}}

    def apply(self, config: Config) -> None:
        """Use another configuration. Sessions whose token or issuer is no longer in it end."""
        self._store.change(config.store.location)
        self._sign_in.change(access_of(config))
        self.auth.proxies = TrustedProxies(config.server.trusted_proxies)
        audit = _audit_settings(config)
        self.audit.change(audit.retention, audit.most)

    def note_reload(self, outcome: Outcome) -> None:
        """Note a reload that no operator asked for here; the others are noted by the API."""
        if outcome.why != ASKED:
            self.audit.add(reload_entry(outcome, str(self._reloader.file)))

    async def close(self) -> None:
        """Write what waits for the store, and close it."""
        self._sign_in.close()
        await self.audit.flush()
        await self._store.close()

    def _config(self) -> Config:
        return self._reloader.loaded.config

    def _report_tokens(self, client: str | None, count: int) -> None:
        self._logger.warning("admin_token_refused", client=client, count=count)
        nobody = Operator("", "none", None, client)
        refused = entry(nobody, "token_refused", result="refused", object="token", count=count)
        self.audit.add(refused, has_line=True)


def _audit_settings(config: Config) -> models.OperatorAuditSettings:
    return models.OperatorAuditSettings() if config.admin is None else config.admin.audit
