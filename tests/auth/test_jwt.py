"""JSON Web Tokens: what is accepted, and everything that is not."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
import uuid
from collections import Counter
from random import Random
from typing import Any, NoReturn

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from gateway.auth.claims import ClaimMap
from gateway.auth.jwk import VerificationKey
from gateway.auth.jwt import REVOKED, JwtProvider
from gateway.auth.key_sets import STALE_S, UNKNOWN_KID_S, RemoteKeySet, StaticKey
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected
from gateway.store.record_watcher import RecordWatcher
from gateway.stores.memory.records import MemoryRecords
from tests.support.figures import Report

SECRET = b"a-secret-of-thirty-two-characters-or-more"
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def provider(
    algorithm: str = "HS256",
    *,
    key: bytes | None = None,
    leeway_s: float = 10.0,
    revoked: RecordWatcher | None = None,
    **names: Any,
) -> JwtProvider:
    given = key or (SECRET if algorithm == "HS256" else PUBLIC)
    prepared = jwt.get_algorithm_by_name(algorithm).prepare_key(given)
    return JwtProvider(
        "corp",
        keys=StaticKey(VerificationKey(None, algorithm, prepared)),
        issuer="https://sso.test",
        audience=("llm", "llm-too"),
        leeway_s=leeway_s,
        claims=ClaimMap(**{"tenant": "org", "tier": "plan", **names}),
        revoked=revoked or RecordWatcher(MemoryRecords(), REVOKED),
    )


def claims(**changes: Any) -> dict[str, Any]:
    standard = {
        "iss": "https://sso.test",
        "aud": "llm",
        "sub": "ann",
        "exp": time.time() + 60,
        "org": "acme",
    }
    return {key: value for key, value in {**standard, **changes}.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


def verified(text: str, by: JwtProvider | None = None) -> Principal:
    # Nothing waits with a key of our own, so there is no event loop to run.
    try:
        (by or provider()).verify(text).send(None)
    except StopIteration as done:
        principal: Principal = done.value
        return principal
    raise AssertionError("it waited")


def rejection(text: str, by: JwtProvider | None = None) -> str:
    with pytest.raises(Rejected) as caught:
        verified(text, by)
    assert len(text) < 20 or text not in str(caught.value)
    return str(caught.value)


def part(data: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def test_a_good_token_names_its_principal() -> None:
    expires = int(time.time()) + 60
    expected = Principal("ann", "corp", "acme", None, expires_at=expires + 10.0)
    assert verified(token(exp=expires)) == expected
    assert verified(token(PRIVATE, "RS256", exp=expires), provider("RS256")) == expected


def test_claims_are_mapped_as_configured() -> None:
    mapped = provider(subject="email", tenant="team")
    principal = verified(token(email="ann@test", team="ml", plan="gold", scope="a b"), mapped)
    expected = Principal("ann@test", "corp", "ml", "gold", scopes=frozenset("ab"))
    assert dataclasses.replace(principal, expires_at=None) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, "ExpiredSignatureError"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"exp": "soon"}, "DecodeError"),
        ({"exp": 10**30}, ""),
        ({"exp": [2**40]}, "DecodeError"),
        ({"iss": "https://evil.test"}, "not of this issuer: iss is "),
        ({"iss": None}, "not of this issuer: iss is None"),
        ({"aud": "other"}, "InvalidAudienceError"),
        ({"aud": "llm-"}, "InvalidAudienceError"),
        ({"aud": "ll"}, "InvalidAudienceError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"nbf": 2**40}, "ImmatureSignatureError"),
        ({"exp": str(2**32)}, "is not a number"),
        ({"nbf": "1"}, "is not a number"),
        ({"iat": "1"}, "is not a number"),
        ({"sub": None}, "claim sub is missing"),
        ({"sub": ""}, "claim sub is missing"),
    ],
)
def test_a_token_that_fails_a_check_is_rejected_with_its_name(
    changes: dict[str, Any], reason: str
) -> None:
    assert reason in rejection(token(**changes))


def test_leeway_is_granted_and_no_more() -> None:
    verified(token(exp=time.time() - 5))
    expiry = int(time.time()) - 15
    assert rejection(token(exp=expiry)) == f"ExpiredSignatureError: exp is {expiry}"


def test_an_audience_may_be_one_of_a_list() -> None:
    verified(token(aud=["other", "llm"]))


# -- forgeries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
def test_an_unsigned_token_is_rejected(name: str) -> None:
    body = part(claims())
    for signature in ("", "AA"):
        rejection(f"{part({'alg': name, 'typ': 'JWT'})}.{body}.{signature}")


def test_the_public_key_is_no_shared_secret() -> None:
    import hashlib
    import hmac

    head = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims())}"
    signature = hmac.digest(PUBLIC, head.encode(), hashlib.sha256)
    forged = f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert rejection(forged, provider("RS256")) == "InvalidAlgorithmError"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_of_the_same_family_is_rejected(algorithm: str) -> None:
    long = b"s" * 64
    forged = token(long, algorithm)
    assert rejection(forged, provider(key=long)) == "InvalidAlgorithmError"


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "http://127.0.0.1:1/jwks"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
        {"kid": "../../etc/passwd"},
        {"kid": "k" * 10_000},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
    ],
)
def test_what_the_header_points_to_is_never_used(header: dict[str, Any]) -> None:
    forged = jwt.encode(claims(), "another-secret-of-thirty-two-characters", headers=header)
    rejection(forged)


def test_an_unknown_critical_extension_is_rejected_even_if_the_signature_is_good() -> None:
    rejection(jwt.encode(claims(), SECRET, headers={"crit": ["x"], "x": 1}))


def test_a_token_with_150_groups_is_one_as_any_other() -> None:
    groups = [str(uuid.uuid4()) for number in range(160)]
    text = token(groups=groups)
    assert len(text) > 8192
    assert verified(text, provider(groups="groups")).groups == tuple(groups)


def test_what_is_remembered_of_long_tokens_is_bounded() -> None:
    by = provider()
    for number in range(14):
        verified(token(number=number, pad="x" * 1_000_000), by)
    assert by.remembered == 12
    assert by.remembered_characters < 16 * 1024 * 1024
    by.forget()
    assert by.remembered_characters == 0


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        ({"exp": 1}, "The token expired"),
        ({"nbf": 2**40}, "The token is not valid yet"),
        ({"iat": 2**40}, "The token is not valid yet"),
        ({"aud": "other"}, "The token is for another audience"),
        ({"iss": "https://evil.test"}, "The token is of another issuer"),
        ({"aud": None}, "The token lacks one of the claims exp, iss and aud"),
        ({"sub": None}, "The token has no claim sub"),
        ({"exp": str(2**32)}, "The token is malformed"),
    ],
)
def test_a_caller_is_told_what_is_wrong_with_its_token(
    changes: dict[str, Any], description: str
) -> None:
    with pytest.raises(Rejected) as caught:
        verified(token(**changes))
    assert caught.value.description == description


def test_the_log_has_the_audience_and_issuer_that_were_expected_and_found() -> None:
    assert rejection(token(aud="other\n")) == (
        "InvalidAudienceError: aud is 'other\\n', expected one of ['llm', 'llm-too']"
    )
    assert rejection(token(iss="https://evil.test")) == (
        "not of this issuer: iss is 'https://evil.test', expected 'https://sso.test'"
    )


async def test_keys_of_one_name_are_both_tried() -> None:
    first, second = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    document = [
        {**json.loads(RSAAlgorithm.to_jwk(_KEY.public_key())), "kid": "twin", "alg": "RS256"},
        {**json.loads(OKPAlgorithm.to_jwk(first.public_key())), "kid": "twin"},
        {**json.loads(OKPAlgorithm.to_jwk(second.public_key())), "kid": "twin"},
    ]

    async def fetch(_: str) -> bytes:
        return json.dumps({"keys": document}).encode()

    by = JwtProvider(
        "corp",
        keys=RemoteKeySet(issuer="https://sso.test", url="https://sso.test/keys", fetch=fetch),
        issuer="https://sso.test",
        audience=("llm",),
        leeway_s=0.0,
        claims=ClaimMap(),
        revoked=RecordWatcher(MemoryRecords(), REVOKED),
    )
    signers: list[tuple[Any, str]] = [(_KEY, "RS256"), (first, "EdDSA"), (second, "EdDSA")]
    for key, algorithm in signers:
        good = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": "twin"})
        assert (await by.verify(good)).subject == "ann"
    stranger = ed25519.Ed25519PrivateKey.generate()
    forged = jwt.encode(claims(), stranger, algorithm="EdDSA", headers={"kid": "twin"})
    with pytest.raises(Rejected, match="InvalidSignatureError"):
        await by.verify(forged)
    other = jwt.encode(claims(), _KEY, algorithm="PS256", headers={"kid": "twin"})
    with pytest.raises(Rejected, match="InvalidAlgorithmError"):
        await by.verify(other)


@given(st.text(max_size=200))
def test_any_text_is_a_rejection(text: str) -> None:
    rejection(text)


@settings(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_a_changed_character_is_a_rejection(data: st.DataObject) -> None:
    good = jwt.encode(claims(exp=2**31), SECRET)
    place = data.draw(st.integers(0, len(good) - 1))
    character = data.draw(st.sampled_from("ABCabc012-_.= \n"))
    changed = good[:place] + character + good[place + 1 :]
    if changed == good or place == len(good) - 1:
        return  # the last character of base64url has bits that mean nothing
    rejection(changed)


def test_j12_a_hundred_thousand_mutations_are_rejected(report: Report) -> None:
    """One byte replaced, taken out or put in; half of them by what may stand in a token."""
    one = provider()
    good = jwt.encode(claims(exp=2**31), SECRET).encode()
    base64url = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    expected = verified(good.decode(), one)
    random = Random(12)
    accepted = tried = 0
    reasons: Counter[str] = Counter()
    while tried < 100_000:
        place = random.randrange(len(good))
        byte = random.choice(base64url) if random.random() < 0.5 else random.randrange(256)
        put, after = random.choice([((byte,), 1), ((byte,), 1), ((), 1), ((byte,), 0)])
        changed = good[:place] + bytes(put) + good[place + after :]
        if changed == good:
            continue
        tried += 1
        try:
            verified(changed.decode("latin-1"), one)
            accepted += 1
        except Rejected as exc:
            reasons[str(exc)] += 1
    report("J12", "of 100 000 mutated tokens, accepted", accepted)
    assert accepted == 0
    assert reasons["InvalidSignatureError"] > 10_000  # many were well-formed
    # Nor did they do it any harm, or find it cached under another name.
    one.forget()
    assert verified(good.decode(), one) == expected


# -- the cache ---------------------------------------------------------------------------------


def test_a_verified_token_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    one = provider(leeway_s=0.0)
    now = time.time()
    good = token(exp=now + 30)
    first = verified(good, one)
    monkeypatch.setattr(
        jwt.PyJWT, "decode_complete", lambda *_, **__: pytest.fail("verified twice")
    )
    assert verified(good, one) is first
    monkeypatch.undo()
    monkeypatch.setattr(time, "time", lambda: now + 31)
    monkeypatch.setattr(jwt.PyJWT, "decode_complete", _looked_at_again)
    assert rejection(good, one) == "looked at again"


def _looked_at_again(*_: object, **__: object) -> NoReturn:
    raise Rejected("looked at again")


def test_a_token_is_verified_at_once_with_the_same_checks() -> None:
    revoked = RecordWatcher(MemoryRecords(), REVOKED)
    one = provider(revoked=revoked)
    good = token(jti="a")
    principal = one.verify_now(good)
    assert principal is not None
    assert one.verify_now(good) is principal
    assert verified(good, one) is principal
    for bad in (token(exp=1), token(aud="other"), token(iss="https://evil.test"), "junk"):
        expected = rejection(bad, one)
        with pytest.raises(Rejected) as caught:
            one.verify_now(bad)
        assert str(caught.value) == expected
    revoked.found = {"a": b""}
    with pytest.raises(Rejected, match="revoked"):
        one.verify_now(good)


async def test_a_token_is_verified_at_once_only_with_keys_that_were_fetched() -> None:
    now, kids = 1000.0, ["first"]

    async def fetch(_: str) -> bytes:
        public = json.loads(RSAAlgorithm.to_jwk(_KEY.public_key()))
        return json.dumps({"keys": [{**public, "kid": kid} for kid in kids]}).encode()

    keys = RemoteKeySet(
        issuer="https://sso.test", url="https://sso.test/keys", fetch=fetch, now=lambda: now
    )
    by = JwtProvider(
        "corp",
        keys=keys,
        issuer="https://sso.test",
        audience=("llm",),
        leeway_s=0.0,
        claims=ClaimMap(),
        revoked=RecordWatcher(MemoryRecords(), REVOKED),
    )
    first, second = (
        jwt.encode(claims(), _KEY, algorithm="RS256", headers={"kid": kid})
        for kid in ("first", "second")
    )
    assert by.verify_now(first) is None
    principal = await by.verify(first)
    assert by.verify_now(first) is principal
    assert by.verify_now(second) is None, "a key that is not known may be new"
    kids[:] = ["second"]
    now += UNKNOWN_KID_S
    await by.verify(second)
    assert by.verify_now(first) is None, "its key was withdrawn"
    assert by.verify_now(second) is not None
    now += STALE_S
    assert by.verify_now(second) is None, "keys that are too old verify nothing"
    keys.close()


def test_a_revoked_token_is_refused_though_it_was_verified_before() -> None:
    revoked = RecordWatcher(MemoryRecords(), REVOKED)
    one = provider(revoked=revoked)
    good, other = token(jti="a"), token(jti="b")
    verified(good, one)
    revoked.found = {"a": b""}
    assert rejection(good, one) == "revoked"
    verified(other, one)
    verified(token(), one)


def test_rejections_are_not_remembered_and_the_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.auth.jwt._CACHED_TOKENS", 10)
    one = provider()
    rejection("x.y.z", one)
    for number in range(25):
        verified(token(sub=f"user-{number}"), one)
    assert one.remembered == 10


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("pad", ["=", "==", "\n"])
def test_j6_a_second_spelling_of_a_good_token_is_rejected(part: int, pad: str) -> None:
    parts = token().split(".")
    parts[part] += pad
    assert rejection(".".join(parts)) == "not a JWT"
