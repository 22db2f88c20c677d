"""Sign-in of operators at the issuer: to it, back from it, and a session for who has a role.

What fails is a page with one sentence, and nothing of the request in it. The log has the reason.
"""

from __future__ import annotations

import html
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.admin.access import Access, roles_of, source_of
from gateway.admin.audit import note
from gateway.admin.auth import AdminAuth, cookie_name, host_of, is_local
from gateway.admin.gate import CALLBACK
from gateway.admin.operator import OPERATOR, Operator
from gateway.admin.pages import Pages
from gateway.admin.pending_sign_ins import (
    PENDING_S,
    BegunSignIn,
    PendingSignIns,
    is_browser,
    new_browser,
    own_path,
)
from gateway.admin.roles import role_of
from gateway.admin.sessions import OperatorSession
from gateway.admin.sign_in_failures import SignInFailed, issuer_away, store_away, unexpected
from gateway.auth.oidc.authorization import AuthorizationAnswer, BadAnswer, parse_answer
from gateway.auth.oidc.client import OidcClient, SignedIn
from gateway.auth.oidc.id_token import BadIdToken
from gateway.auth.oidc.issuer_metadata import UnusableIssuer
from gateway.auth.oidc.person_claims import groups_of, shown_name
from gateway.auth.oidc.token_client import CodeRefused, IssuerFailed
from gateway.bucket import TokenBucket
from gateway.config import models
from gateway.errors import AuthUnavailable
from gateway.store.records import StoreUnavailable

_ID_TOKEN_CAP = 16 * 1024
_PER_S, _BURST = 2.0, 40.0
"""Steps of sign-ins from one address; each sign-in has two."""
_TOTAL_PER_S, _TOTAL_BURST = 20.0, 200.0
"""Steps from all addresses. They bound what unfinished sign-ins take in the store."""
_METHODS, _OUTCOMES = ("issuer", "token"), ("ok", "refused", "failed")
_ADDRESSES_CAP = 1000
_OVERAGE = ("_claim_names", "hasgroups")
"""Claims of an ID token from which Entra ID left the groups out, because there are too many."""


@dataclass(frozen=True, slots=True)
class _Person:
    """Person that came back from the issuer."""

    operator: Operator
    groups: tuple[str, ...]


class SignIn:
    """Handlers of the sign-in."""

    def __init__(
        self,
        auth: AdminAuth,
        pending: PendingSignIns,
        pages: Pages,
        logger: FilteringBoundLogger,
        make_client: Callable[[models.SignInSettings, Callable[[str], None]], OidcClient],
    ) -> None:
        """`make_client` builds the client of an issuer. It may raise OSError or ValueError."""
        self.counts: Counter[tuple[str, str]] = Counter(
            {(method, outcome): 0 for method in _METHODS for outcome in _OUTCOMES}
        )
        """Number of sign-ins by method (`issuer` or `token`) and outcome."""
        self._auth = auth
        self._pending = pending
        self._pages = pages
        self._logger = logger
        self._make_client = make_client
        self._client: OidcClient | None = None
        self._all = TokenBucket(_TOTAL_PER_S, _TOTAL_BURST)
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self.change(auth.access)

    @property
    def routes(self) -> list[web.RouteDef]:
        """Routes to add to the application."""
        return [web.get("/sign-in", self._begin), web.get(CALLBACK, self._finish)]

    def change(self, access: Access) -> None:
        """Use another configuration. Sign-ins that were begun at another issuer fail."""
        before, self._auth.access = self._auth.access, access
        if self._client is not None and before.sign_in == access.sign_in:
            return
        self.close()
        if access.sign_in is not None:
            try:
                self._client = self._make_client(access.sign_in, self._report)
            except (OSError, ValueError) as exc:
                self._report(f"the client cannot be built: {exc}")

    def close(self) -> None:
        """Cancel what the client does."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def prefix(self, request: web.Request) -> str:
        """Return the path below which a proxy serves this listener to a browser, as HTML text."""
        return html.escape(urlsplit(self._auth.access.base(host_of(request)) or "").path)

    async def end_session_url(self, request: web.Request, id_token: str | None) -> str | None:
        """Return the URL at which a browser ends its session at the issuer; None if there is
        none.
        """
        base = self._base(request)
        if self._client is None or base is None:
            return None
        return await self._client.end_session_url(id_token, f"{base}/")

    def count(self, method: str, outcome: str) -> None:
        """Count a sign-in."""
        self.counts[method, outcome] += 1

    # -- to the issuer -------------------------------------------------------------------------

    async def _begin(self, request: web.Request) -> web.Response:
        try:
            return await self._sent(request)
        except SignInFailed as exc:
            return self._failed(request, exc)

    async def _sent(self, request: web.Request) -> web.Response:
        client, options = self._configured()
        self._take_turn(request)
        base = self._base(request)
        if base is None:
            known = ", ".join(self._auth.access.public_urls) or "http://localhost"
            raise SignInFailed(
                *(400, "Another address"),
                f"Sign in at an address of this gateway: {known} (admin.public_url).",
                "the host is not in admin.public_url",
            )
        secure = base.startswith("https:")
        cookie = cookie_name("sign_in", request, secure=secure)
        # Several tabs of a browser share the cookie, so that each of them can be finished.
        shown = request.cookies.get(cookie)
        browser = shown if shown is not None and is_browser(shown) else new_browser()
        return_to = own_path(request.query.get("return_to", "/"))
        try:
            pending = await self._pending.begin(
                browser, base, f"{base}{CALLBACK}", return_to, source_of(options)
            )
            url = await client.start(pending)
        except StoreUnavailable as exc:
            raise store_away(exc) from exc
        except UnusableIssuer as exc:
            raise issuer_away(str(exc)) from exc
        response = _redirect(url)
        response.set_cookie(
            cookie,
            browser,
            max_age=int(PENDING_S),
            httponly=True,
            # The way back is a navigation from the issuer's site.
            samesite="Lax",
            secure=secure,
        )
        return response

    # -- back from the issuer --------------------------------------------------------------------

    async def _finish(self, request: web.Request) -> web.Response:
        try:
            return await self._signed_in(request)
        except SignInFailed as exc:
            return self._failed(request, exc)

    async def _signed_in(self, request: web.Request) -> web.Response:
        client, options = self._configured()
        self._take_turn(request)
        try:
            answer = parse_answer(request.rel_url.raw_query_string)
            begun = await self._begun(request, answer, options)
            await client.check(request.rel_url.raw_query_string)
        except BadAnswer as exc:
            raise unexpected(str(exc)) from exc
        except StoreUnavailable as exc:
            raise store_away(exc) from exc
        except UnusableIssuer as exc:
            raise issuer_away(str(exc)) from exc
        if answer.code is None:
            reason = f"the issuer answers {answer.error}"
            raise SignInFailed(403, "Not signed in", answer.sentence, reason)
        found = await self._exchanged(client, options, answer, begun)
        person = self._person(request, found, options)
        return await self._begin_session(request, begun, person, found.id_token)

    async def _begun(
        self, request: web.Request, answer: AuthorizationAnswer, options: models.SignInSettings
    ) -> BegunSignIn:
        secure = (self._base(request) or "").startswith("https:")
        browser = request.cookies.get(cookie_name("sign_in", request, secure=secure))
        begun = await self._pending.finish(browser, answer.state)
        if begun is None:
            raise SignInFailed(
                *(400, "Sign in again"),
                "This sign-in was not begun in this browser, or is finished or too old.",
                "no such sign-in of this browser",
            )
        if begun.source != source_of(options):
            raise unexpected("it was begun at another issuer")
        return begun

    async def _exchanged(
        self,
        client: OidcClient,
        options: models.SignInSettings,
        answer: AuthorizationAnswer,
        begun: BegunSignIn,
    ) -> SignedIn:
        try:
            return await client.finish(answer, begun.pending, (options.groups,))
        except (UnusableIssuer, IssuerFailed) as exc:
            raise issuer_away(str(exc)) from exc
        except AuthUnavailable as exc:
            raise issuer_away("its keys cannot be fetched") from exc
        except CodeRefused as exc:
            raise SignInFailed(
                *(403, "Not signed in"),
                "The identity provider does not accept what its page sent. Sign in again; if that "
                "does not help, check admin.sign_in.client_id and client_secret.",
                str(exc),
            ) from exc
        except BadIdToken as exc:
            raise SignInFailed(
                *(403, "Not signed in"),
                "The ID token of the identity provider is not accepted; the log says why.",
                f"ID token: {exc}",
            ) from exc

    def _person(
        self, request: web.Request, found: SignedIn, options: models.SignInSettings
    ) -> _Person:
        """Return the person, with role and groups. Raise SignInFailed for one without a role."""
        held = groups_of(found.claims, options.groups)
        by_role = roles_of(options)
        role = role_of(held, by_role)
        subject = str(found.claims["sub"])
        name, address = shown_name(found.claims, options.name), self._auth.address(request)
        operator = Operator(name, "session", role, address, subject)
        if role is None:
            text = (
                "You are known to the identity provider, but none of your groups has a role here."
            )
            reason = f"none of {len(held)} groups in claim {options.groups} has a role"
            if not held and any(one in found.claims for one in _OVERAGE):
                text = (
                    "The identity provider left your groups out, because they are too many. Let it "
                    "send app roles, or the groups that are assigned to this application."
                )
            raise SignInFailed(403, "No role", text, reason, operator)
        named = {group for groups in by_role.values() for group in groups}
        return _Person(operator, tuple(sorted(named.intersection(held))))

    async def _begin_session(
        self, request: web.Request, begun: BegunSignIn, person: _Person, id_token: str
    ) -> web.Response:
        now, operator = time.time(), person.operator
        session = OperatorSession(
            operator.name,
            begun.source,
            now,
            now + self._auth.access.session_s(is_token=False),
            operator.subject,
            person.groups,
            id_token if len(id_token) <= _ID_TOKEN_CAP else None,
            operator.address,
        )
        response = _redirect(f"{begun.base}{begun.return_to}")
        try:
            await self._auth.begin(request, session, response)
        except StoreUnavailable as exc:
            raise store_away(exc) from exc
        self.count("issuer", "ok")
        request[OPERATOR] = operator
        note(request, "signed_in", object="session", method="issuer")
        return response

    # -- what they share -------------------------------------------------------------------------

    def _configured(self) -> tuple[OidcClient, models.SignInSettings]:
        options = self._auth.access.sign_in
        if self._client is None or options is None:
            raise SignInFailed(
                *(404, "No sign-in"),
                "People cannot sign in here: admin.sign_in is not set, or not usable.",
                "admin.sign_in is not set, or not usable",
            )
        return self._client, options

    def _base(self, request: web.Request) -> str | None:
        """Return the public URL at which the browser reaches this listener; None if it is not one
        to which people may be sent back.
        """
        access = self._auth.access
        if not access.public_urls and is_local(request):
            return f"http://{host_of(request)}"
        return access.base(host_of(request))

    def _take_turn(self, request: web.Request) -> None:
        """Raise SignInFailed if this address, or all together, sign in too often."""
        address, now = self._auth.address(request) or "", time.monotonic()
        own = self._buckets.get(address) or TokenBucket(_PER_S, _BURST)
        self._buckets[address] = own
        self._buckets.move_to_end(address)
        if len(self._buckets) > _ADDRESSES_CAP:
            self._buckets.popitem(last=False)
        if own.take(now) or self._all.take(now):
            text = "There were too many sign-ins in a short time. Wait half a minute."
            raise SignInFailed(429, "Too many sign-ins", text, "too many sign-ins")

    def _failed(self, request: web.Request, exc: SignInFailed) -> web.Response:
        """Note a failure, and return its page."""
        operator = exc.operator or Operator("", "none", None, self._auth.address(request))
        request[OPERATOR] = operator
        self.count("issuer", "refused" if exc.status < 500 else "failed")
        note(request, "sign_in_refused", result="refused", reason=exc.reason, object="session")
        again = None if exc.status == 404 else "/sign-in"
        response = self._pages.message(
            exc.title, exc.text, exc.status, prefix=self.prefix(request), again=again
        )
        if exc.status == 429:
            response.headers["Retry-After"] = "30"
        return response

    def _report(self, reason: str) -> None:
        self._logger.warning("sign_in", reason=reason)


def _redirect(url: str) -> web.Response:
    headers = {"Location": url, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return web.Response(status=303, headers=headers)
