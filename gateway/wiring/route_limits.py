"""Construction of the limits of one route: which of them there are, and when they are checked."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config import Config, models
from gateway.dialects import DIALECTS
from gateway.limiting.accounts import Accounts
from gateway.limiting.keys import model_key
from gateway.limiting.own_rules import OwnRules
from gateway.middleware.limits import FirstLimits, HeadLimits, RequestLimits
from gateway.request_body.reader import BodyReader
from gateway.wiring.parts import Named, Parts


class RouteLimits:
    """Policies of one route that check limits."""

    def __init__(
        self,
        config: Config,
        route: models.Route,
        named: Named,
        parts: Parts,
        dialect: str,
        reader: BodyReader,
    ) -> None:
        """`named` are the rules of every limit in the configuration."""
        self._config = config
        self._route = route
        self._named = named
        self._parts = parts
        self._dialect = dialect
        # An authenticated principal may have limits of its own.
        may_have_own = bool(named) and route.auth != "anonymous"
        self._own_rules = parts.own_rules if self._has_holders else None
        self.all = self._made(route.limits, named if may_have_own else {}, self._own_rules)
        """Check of all limits, or of those that `head` or `first` have left."""
        self.head = None if self.all is None else HeadLimits(self.all, reader)
        """Check of the limits that need no body."""
        self.first: FirstLimits | None = None
        """First check on a route where only limits that are set at run time may need the body."""
        if self.all is not None and self._own_rules is not None and not self.need_body:
            self.first = FirstLimits(self.all)

    @property
    def need_body(self) -> bool:
        """True if a limit of the route, or one that a principal may have, depends on the body."""
        route = self._route
        names = route.limits if route.auth == "anonymous" else self._named
        return forwards(route) and any(
            rule.needs_model for name in names for rule in self._named[name]
        )

    @property
    def count_models(self) -> bool:
        """True if one of the route's own limits depends on the model."""
        return any(rule.needs_model for name in self._route.limits for rule in self._named[name])

    def of(self, names: Sequence[str]) -> RequestLimits | None:
        """Return the check of these limits; None if there are none."""
        return self._made(names)

    def accounts(self) -> Accounts:
        """Return what tells a caller the state of its limits."""
        own = [rule for name in self._route.limits for rule in self._named[name]]
        return Accounts(own, self._named, lambda rule: model_key not in rule.key, self._own_rules)

    @property
    def _has_holders(self) -> bool:
        """True if callers may have limits that are set at run time: those of API keys, or of teams
        and users.
        """
        route = self._route
        if route.auth == "anonymous" or not forwards(route):
            return False
        return any(_has_holders(self._config.auth[name]) for name in route.auth)

    def _made(
        self, names: Sequence[str], named: Named | None = None, own_rules: OwnRules | None = None
    ) -> RequestLimits | None:
        """Return the check of these limits; None if there are none. `named` are those that a
        principal may have of its own, and `own_rules` makes those that it has since run time.
        """
        route, parts = self._route, self._parts
        own = [rule for name in names for rule in self._named[name]]
        if not own and not named and own_rules is None:
            return None
        return RequestLimits(
            own,
            named or {},
            parts.store,
            parts.leases,
            parts.limit_activity,
            show=route.limit_headers,
            asks_usage=DIALECTS[self._dialect].asks_for_usage,
            most=parts.most_output,
            own=own_rules,
            soft=None if own_rules is None else parts.soft_limits,
        )


def forwards(route: models.Route) -> bool:
    """Tell whether a route forwards requests: it issues no tickets, and is no bridge."""
    return route.issues is None and route.bridge is None


def _has_holders(provider: models.Provider) -> bool:
    """Tell whether the callers of a provider may have allowances. A ticket has those of the caller
    that it was issued to.
    """
    if isinstance(provider, models.JwtProviderSettings):
        return provider.claims.team is not None
    return isinstance(provider, models.ApiKeyProviderSettings | models.TicketProviderSettings)
