"""Rules of models: they adapt the parameters of a request to its model. A request that does not fit
into the model goes to a fallback, or is refused.
"""

from __future__ import annotations

from gateway.errors import ContextLengthExceeded, RequestError
from gateway.json_body import JsonBody
from gateway.pipeline import Outcome
from gateway.proxy.attempt import SendOptions
from gateway.proxy.translated import understands
from gateway.request import Request
from gateway.routing.applied_rules import apply_rules, fits
from gateway.routing.resolve import placed, rename_model
from gateway.routing.target import Target, target_of


class ApplyModelRules:
    """Policy of the routes whose models have rules."""

    def __init__(self, sending: SendOptions) -> None:
        self._sending = sending

    def on_request(self, request: Request) -> Outcome:
        """Apply the rules of the request's model. Raise UnsupportedParameter, ModalityNotSupported
        or ContextLengthExceeded.
        """
        exchange = request.exchange
        target, body = target_of(exchange), exchange.json
        rules = target.rules
        if rules is None or body is None or exchange.method != "POST":
            return None
        misfit = rules.misfit(body, exchange.path)
        if misfit is not None:
            return self._elsewhere(request, target, body, misfit)
        return apply_rules(request, target, self._sending.reader)

    async def _elsewhere(
        self, request: Request, target: Target, body: JsonBody, misfit: RequestError
    ) -> None:
        """Choose the first fallback that the request fits into. Without one, raise the misfit,
        unless it is only an estimate: then let the model decide.
        """
        exchange = request.exchange
        for name, other in target.fallbacks:
            if (
                other.serves(name, exchange.principal)
                and fits(request, other)
                and await understands(request, other, self._sending)
            ):
                reason = (
                    "prompt too long" if isinstance(misfit, ContextLengthExceeded) else misfit.code
                )
                other = placed(request, other)
                exchange.falls_back(name, other, f"{exchange.model}: {reason}")
                rename_model(request, exchange.body, other.rename_to or name)
                target = other
                break
        else:
            assert target.rules is not None
            if surely := target.rules.misfit(body, exchange.path, surely=True):
                raise surely
        waiting = apply_rules(request, target, self._sending.reader)
        if waiting is not None:
            await waiting
