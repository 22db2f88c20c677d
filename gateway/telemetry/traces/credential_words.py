"""Words for a refused credential: what is wrong with it, and the remedy, by the reason in the log.

Reasons come from `gateway/auth/` and `gateway/middleware/auth.py`. Each provider that was asked
adds a clause, such as "corp: InvalidAudienceError: aud is 'x', expected one of ['y']". They hold
claims, and never a credential. Operators see them; callers do not.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_BEGIN = r"(?:^|; |refused by )(?:(?P<provider>[\w.-]+): )?"
_END = r"(?=$|; )"
_CLOCKS = "If it is new, the clocks differ: compare them with `gateway doctor`."
_COMPARE = "Compare the token with the provider's section in `auth`."
# The first pattern that matches decides, whichever provider it is of. A rejection of a provider's
# own credential comes before "of another issuer" and "of another kind".
_REASONS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(f"{_BEGIN}(?:{pattern})"), text, remedy)
    for pattern, text, remedy in (
        (
            r"more than one credential",
            "The request has several credentials that differ.",
            "The client has to send one of them.",
        ),
        (
            r"InvalidAudienceError: aud is (?P<found>.*?), expected one of \[(?P<wanted>.*?)\]",
            "The token's `aud` is {found}, expected {wanted}{by}.",
            "The client has to get a token for this audience. Or add the token's audience to "
            "`audience` of the provider.",
        ),
        (
            r"ExpiredSignatureError(?:: exp is (?P<exp>-?\d+(?:\.\d+)?))?",
            "The token expired{ago}.",
            f"The client has to get a new token. {_CLOCKS}",
        ),
        (
            r"ImmatureSignatureError",
            "The token is not valid yet: `nbf` or `iat` is in the future.",
            "Compare the clocks of gateway and issuer with `gateway doctor`.",
        ),
        (
            r"InvalidSignatureError",
            "The token's signature does not match the issuer's key{by}.",
            "The client has to get its token from this issuer. " + _COMPARE,
        ),
        (
            r"no key for this token",
            "The token names a key that the issuer does not publish{by}.",
            "If the issuer has new keys, the gateway fetches them within 30 s. Else check the "
            "provider's keys with `gateway doctor`.",
        ),
        (
            r"MissingRequiredClaimError",
            "The token lacks one of the claims exp, iss and aud.",
            "Correct what the issuer puts into the token.",
        ),
        (
            r"claim (?P<claim>\S+) is not as required",
            "The token's claim `{claim}` is not as required{by}.",
            "Give the caller what the claim stands for, or correct `required` of the provider.",
        ),
        (
            r"claim (?P<claim>\S+) is missing or not a string",
            "The token has no claim `{claim}`, which names the caller{by}.",
            "Correct what the issuer puts into the token, or `claims` of the provider.",
        ),
        (
            r"revoked" + _END,
            "The credential was revoked{by}.",
            "The client has to get a new credential, if it should have one.",
        ),
        (
            r"unknown key, or a wrong secret",
            "The API key is not known{by}, or its secret is wrong.",
            "Compare its name with `gateway keys list`. Create another one with `gateway keys "
            "create`.",
        ),
        (
            r"expired" + _END,
            "The API key expired{by}.",
            "Create another one with `gateway keys create`.",
        ),
        (
            r"suspended" + _END,
            "The API key is suspended{by}.",
            "Resume it with `gateway keys resume`, if it should be used again.",
        ),
        (
            r"The (?P<holder>team|owner|user) of the (?P<what>API key|token) is suspended",
            "The {holder} of the {what} is suspended.",
            "Resume it with `gateway teams resume` or `gateway users resume`.",
        ),
        (
            r"The team of the API key does not exist",
            "The team of the API key does not exist.",
            "Create it with `gateway teams set`, or move the key: `gateway keys change --team`.",
        ),
        (
            r"The team of the token does not exist",
            "The team that the token names does not exist{by}.",
            "Create it with `gateway teams set`, or correct `teams` or `default_team` of the "
            "provider.",
        ),
        (
            r"claim (?P<claim>\S+) names no team",
            "The token's claim `{claim}` names no team{by}.",
            "Create the team with `gateway teams set`, or add `default_team` to the provider.",
        ),
        (
            r"unknown, expired or used",
            "The ticket is unknown, expired, or was used before.",
            "The client has to get a new ticket for each connection.",
        ),
        (
            r"who it speaks for is not accepted any more",
            "The credential behind the ticket is not valid any more.",
            "The client has to get a new credential, and a new ticket.",
        ),
        (
            r"the ticket is of provider |the session is of a provider of another route",
            "The caller was identified by a provider that the route does not accept.",
            "Add the provider to `auth` of the route, if it should be accepted.",
        ),
        (
            r"(?:exp|nbf|iat|exp, nbf or iat|alg|kid) is not |DecodeError|Invalid\w*Error",
            "The token is malformed{by}.",
            _COMPARE,
        ),
        (
            r"not of this issuer: iss is (?P<found>.*?), expected (?P<wanted>.*?)" + _END,
            "The token's `iss` is {found}, expected {wanted}{by}.",
            "The client has to get its token from this issuer. Or correct `issuer` of the "
            "provider, or add a provider for the other issuer.",
        ),
        (
            r"no credential" + _END,
            "The request has no credential.",
            "The client has to send 'Authorization: Bearer' and its token or API key.",
        ),
        (
            r"Authorization holds no token",
            "The Authorization header has no token of the scheme Bearer.",
            "The client has to send 'Authorization: Bearer' and its token or API key.",
        ),
        (
            r"the certificate has expired",
            "The client certificate has expired{by}.",
            "The client has to get a new certificate.",
        ),
        (
            r"the certificate has no (?P<kind>.*)" + _END,
            "The client certificate has no {kind}, which names the caller{by}.",
            "Correct what the authority puts into certificates, or `subject` of the provider.",
        ),
        (
            r"(?P<found>[^;]+) is not allowed" + _END,
            "The client certificate is for {found}, which is not allowed{by}.",
            "Add the name to `allow` of the provider, if it should be accepted.",
        ),
        (
            r"not (?:a JWT|an API key|a ticket)",
            "The credential is not of a kind that the route accepts.",
            "Compare it with `auth` of the route.",
        ),
        (
            r"a client certificate is needed",
            "The connection has no client certificate{by}.",
            "The client has to present a certificate in the TLS handshake.",
        ),
    )
)


def credential_words(reason: str, at: float) -> tuple[str, str] | None:
    """Return a sentence and the remedy for the reason of a refused credential, or None if the
    reason is not known. `at` is the time of the request in seconds since the epoch.
    """
    for pattern, text, remedy in _REASONS:
        if match := pattern.search(reason):
            known = {name: value or "" for name, value in match.groupdict().items()}
            provider, exp = known.pop("provider"), known.pop("exp", "")
            facts = {
                **known,
                "by": f" (provider '{provider}')" if provider else "",
                "ago": _ago(float(exp), at) if exp else "",
            }
            return text.format_map(facts), remedy
    return None


def _ago(exp: float, at: float) -> str:
    """Return when a token expired, in relation to the request."""
    elapsed_s = at - exp
    if elapsed_s < 120:
        return f" {max(0.0, elapsed_s):.0f} s before the request"
    if elapsed_s < 7200:
        return f" {elapsed_s / 60:.0f} min before the request"
    if elapsed_s < 48 * 3600:
        return f" {elapsed_s / 3600:.0f} h before the request"
    if exp < 0:
        return " before 1970"
    return f" on {datetime.fromtimestamp(exp, UTC).date().isoformat()}"
