"""Authorization requests and responses (OpenID Connect Core 1.0 section 3.1.2, RFC 7636, RFC 9207).

Values in, values out: nothing here is sent, kept or logged.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from gateway.auth.oidc.issuer_metadata import IssuerMetadata

_QUERY_CAP = 16 * 1024
_KNOWN = ("code", "state", "iss", "error")
_CODE_CAP = 8 * 1024
_WORDS = {
    "access_denied": "The identity provider did not let you in, or you left its page.",
    "login_required": "The identity provider asks you to sign in there first.",
    "interaction_required": "The identity provider asks you to sign in there first.",
    "account_selection_required": "The identity provider asks you to choose an account there.",
    "consent_required": "The identity provider asks you, or its administrator, for consent.",
    "invalid_scope": "The identity provider does not grant what admin.sign_in.scopes asks for.",
    "unauthorized_client": "The identity provider does not let this gateway sign people in.",
    "unsupported_response_type": "The identity provider has no authorization code flow.",
    "invalid_request": "The identity provider does not accept the request of this gateway.",
    "server_error": "The identity provider has a fault. Try again later.",
    "temporarily_unavailable": "The identity provider is overloaded. Try again later.",
}
"""A sentence for each error (RFC 6749 section 4.1.2.1, OpenID Connect Core 1.0 section 3.1.2.6)."""
_OTHER = "The identity provider answered with an error that this gateway does not know."


class BadAnswer(Exception):
    """The authorization response is malformed, or another issuer's. The text is for the log."""


@dataclass(frozen=True, slots=True)
class AuthorizationAnswer:
    """Authorization response, as the browser brings it."""

    state: str
    code: str | None
    """Authorization code, or None if the issuer answered with an error."""
    error: str | None = None
    """Code of the error, printable ASCII."""

    @property
    def sentence(self) -> str:
        """Sentence about the error, without any text of the response."""
        return _WORDS.get(self.error or "", _OTHER)


def authorization_url(
    metadata: IssuerMetadata,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: Sequence[str],
    state: str,
    nonce: str,
    verifier: str,
) -> str:
    """Return the URL at the issuer to which the browser is sent."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(dict.fromkeys(("openid", *scopes))),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    endpoint = metadata.authorization_endpoint
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def challenge(verifier: str) -> str:
    """Return the challenge of a verifier, method S256 (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def parse_answer(query: str) -> AuthorizationAnswer:
    """Parse the query of a redirect back from an issuer. `iss` is checked by `check_issuer`. Raise
    BadAnswer.
    """
    if len(query) > _QUERY_CAP:
        raise BadAnswer("the response is too long")
    found = _parameters(query)
    state, code, error = found.get("state"), found.get("code"), found.get("error")
    if not state:
        raise BadAnswer("it has no state")
    if (not code) == (not error):
        raise BadAnswer("it has neither a code nor an error, or both")
    if code and (len(code) > _CODE_CAP or not _is_visible(code)):
        raise BadAnswer("its code is malformed")
    if error and not _is_visible(error):
        error = "malformed"
    return AuthorizationAnswer(state, code or None, error[:100] if error else None)


def check_issuer(query: str, metadata: IssuerMetadata) -> None:
    """Check which issuer sent a response (RFC 9207 section 2.4). Raise BadAnswer."""
    named = _parameters(query).get("iss")
    if named is None and metadata.names_itself:
        raise BadAnswer("it does not name its issuer, as this one does")
    if named is not None and named != metadata.issuer:
        raise BadAnswer(f"it is from another issuer: {ascii(named)[:200]}")


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of a response. None may be repeated (RFC 6749 section 3.1)."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50)
    except ValueError as exc:
        raise BadAnswer("it has too many parameters") from exc
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found and name in _KNOWN:
            raise BadAnswer(f"it has {name} twice")
        found[name] = value
    return found


def _is_visible(text: str) -> bool:
    return text.isascii() and text.isprintable()
