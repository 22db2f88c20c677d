"""Accounts: the rules of a route resolved for one caller, so that a request makes no key again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gateway.limiting.demand import Demand, Kind
from gateway.limiting.header_fields import HeaderFields
from gateway.limiting.keys import Caller, Limited
from gateway.limiting.own_rules import OwnRules
from gateway.limiting.rules import Rule, Unit, unsettled
from gateway.usage import Usage

_ACCOUNTS_CAP = 8192
_VARYING = Demand(Kind.TAKE, "", 0.0)
"""Placeholder for a demand that each request has its own of."""


class Account:
    """Rules that apply to one caller, with their keys and amounts."""

    __slots__ = (
        "_demands",
        "_varying",
        "amounts",
        "fields",
        "has_lasting_keys",
        "is_metered",
        "modes",
        "noted",
        "principal",
        "rules",
        "slots",
        "unsettled",
        "warned",
    )

    def __init__(self, rules: Sequence[Rule], caller: Caller, *, show: bool = False) -> None:
        """`show`: tell the caller what remains."""
        self.principal = caller.principal
        """Principal of the caller. The reference keeps its `id` from being given to another."""
        self.rules = tuple(rules)
        self.amounts = tuple(rule.amount_for(caller) for rule in rules)
        self.modes = tuple(rule.on_store_error for rule in rules)
        """Modes of the rules while the store is not available."""
        self.is_metered = any(rule.correction is not None for rule in rules)
        """True if a rule counts tokens or money, known only from the response."""
        self.has_lasting_keys = not any(amount.period for amount in self.amounts)
        """True if no key changes with a calendar period."""
        self.noted = -1
        """`Seen.evictions` when the keys were recorded; -1 if they have to be recorded."""
        self.warned = tuple(
            place for place, rule in enumerate(self.rules) if rule.warn_at is not None
        )
        """Places of the rules that have a soft limit."""
        self.fields = HeaderFields(self.rules, self.amounts) if show else None
        """Header fields that tell the caller what remains; None if it is not told."""
        fixed = [rule.fixed_demand(caller) for rule in rules]
        self._demands = [demand or _VARYING for demand in fixed]
        """Demands that all requests have, each in the place of its rule."""
        self._varying = tuple(
            (place, rule, rule.key_of(caller), amount)
            for place, (rule, amount) in enumerate(zip(rules, self.amounts, strict=True))
            if fixed[place] is None
        )
        """The other rules, each with its place, its key and its amount."""
        self.slots = tuple(
            place for place, rule in enumerate(self.rules) if rule.unit is Unit.CONCURRENCY
        )
        """Places of the rules that a request holds a slot of."""
        self.unsettled = unsettled(self.rules)
        """Rules, each with its place, for which a request's end matters."""

    def demands(self, request: Limited, asked: Usage) -> list[Demand]:
        """Return the demands of a request, one for each rule, in a list of its own. `asked` is the
        usage that it may reach.
        """
        demands = self._demands.copy()
        for place, rule, key, amount in self._varying:
            demands[place] = rule.demand_on(key, amount, request, asked)
        return demands


class Accounts:
    """Accounts of one route by the facts that keys and amounts are made from: a `Caller`."""

    def __init__(
        self,
        rules: Sequence[Rule],
        named: Mapping[str, Sequence[Rule]],
        applies: Callable[[Rule], bool] = lambda rule: True,
        own: OwnRules | None = None,
        *,
        show: bool = False,
    ) -> None:
        """`rules` are those of the route. `named` are the rules of every limit in the
        configuration, since a principal may have limits of its own. Of all these, an account has
        those that `applies` returns True for. `own` makes the rules of allowances that principals
        have; None: they have none. `show`: tell callers what remains.
        """
        self._rules = tuple(rules)
        self._named = named
        self._applies = applies
        self._own = own
        self._show = show
        self._known: dict[tuple[int, str, str | None, str | None], Account] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, caller: Caller) -> Account:
        """Return the account of a caller."""
        # A principal is found by its identity: its hash would cost more than all the keys.
        facts = id(caller.principal), caller.client_ip, caller.model, caller.route
        known = self._known.get(facts)
        return known if known is not None else self._add(facts, caller)

    def _add(self, facts: tuple[int, str, str | None, str | None], caller: Caller) -> Account:
        if len(self._known) >= _ACCOUNTS_CAP:
            # Clients choose some of the facts, so the cache is bounded. The oldest goes first: to
            # drop all of them would make all requests of the next moments dear.
            del self._known[next(iter(self._known))]
        rules = [rule for rule in self._rules_of(caller) if self._applies(rule)]
        account = self._known[facts] = Account(rules, caller, show=self._show)
        return account

    def _rules_of(self, caller: Caller) -> Sequence[Rule]:
        """Return the rules of the route and those of the caller."""
        principal = caller.principal
        if principal is None or not (principal.limits or principal.grants):
            return self._rules
        own = [rule for name in principal.limits for rule in self._named.get(name, ())]
        granted = [] if self._own is None else self._own.of(principal)
        return (*self._rules, *(rule for rule in own if rule not in self._rules), *granted)
