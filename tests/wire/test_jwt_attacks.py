"""J1 to J12 and C1: forged, broken and ill-timed tokens are 401 and never reach the upstream.

Beside every attack a good token passes, so that what is refused is refused for its flaw alone;
and the log says which flaw that was.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth.key_sets import http_fetch
from tests.support.client import RawClient, ask, request
from tests.support.door import get, guarded, with_token
from tests.support.figures import Report
from tests.support.gateway import LogLine, RunningGateway, StartGateway
from tests.support.issuer import Issuer
from tests.support.refusal import assert_error, refusal_flaw
from tests.support.tokens import SECRET, SECRET_VARIABLE
from tests.support.upstream import ScriptedUpstream

Sign = Callable[[bytes], bytes]


def encoded(data: object) -> str:
    """Base64url of bytes, or of anything else as JSON."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(sign: Sign, claims: object, header: dict[str, Any]) -> str:
    """A token of exactly this header and these claims, whatever they say."""
    head = f"{encoded(header)}.{encoded(claims)}"
    return f"{head}.{encoded(sign(head.encode()))}"


def hmac_of(secret: bytes, algorithm: str = "HS256") -> Sign:
    """Signs with a shared secret, even one that a library would not take."""
    digest = getattr(hashlib, f"sha{algorithm[2:]}")
    return lambda data: hmac.digest(secret, data, digest)


class Door:
    """A gateway that asks for tokens of `issuer`."""

    def __init__(
        self, gateway: RunningGateway, upstream: ScriptedUpstream, issuer: Issuer, report: Report
    ) -> None:
        self.issuer = issuer
        self.gateway = gateway
        self._upstream = upstream
        self._report = report

    def signed(self, claims: object = None, key: str = "a", **header: Any) -> str:
        """A token with this key's good signature over whatever it says."""
        return signed(
            partial(self.issuer.sign, key),
            self.issuer.claims() if claims is None else claims,
            {"alg": self.issuer.jwk(key)["alg"], "kid": key, **header},
        )

    async def refuses(
        self, case: str, what: str, tokens: Sequence[str], *, good: str | None = None
    ) -> list[str]:
        """Why each token was refused, as the log says it. A good one passes before and after."""
        await self.lets_in(good or self.signed())
        before = len(self._attacks)
        async with RawClient(self.gateway.port) as client:
            for token in tokens:
                raw = request(target="/v1/attack", headers=[f"Authorization: Bearer {token}"])
                await client.send(raw)
                response = await client.read_response()
                assert_error(response, 401)
                challenge = response.value("www-authenticate") or b""
                assert challenge.startswith(b'Bearer error="invalid_token", error_description="')
        await self.lets_in(good or self.signed())
        self._report(case, f"of {len(tokens)} {what}, forwarded", self.forwarded)
        assert self.forwarded == 0
        await self.gateway.wait_for_log(lambda _: len(self._attacks) == before + len(tokens))
        return [line["reason"] for line in self._attacks[before:]]

    async def lets_in(self, token: str) -> None:
        """This token is good."""
        assert (await with_token(self.gateway, token, "/v1/good")).status == 200

    @property
    def forwarded(self) -> int:
        """How many requests reached the upstream, other than the good ones."""
        return len([one for one in self._upstream.requests if one.target != "/v1/good"])

    @property
    def _attacks(self) -> list[LogLine]:
        return [line for line in self.gateway.log.requests if line["path"] == "/v1/attack"]


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as issuer:
        issuer.add_key("a", "ES256")
        yield issuer


@pytest.fixture
def stranger() -> Issuer:
    """Keys that nobody trusts, under the names of those that are."""
    stranger = Issuer()
    stranger.add_key("a", "ES256")
    return stranger


@pytest.fixture
async def door(
    start_gateway: StartGateway, upstream: ScriptedUpstream, issuer: Issuer, report: Report
) -> Door:
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    return Door(gateway, upstream, issuer, report)


# -- the signature -----------------------------------------------------------------------------


async def test_j1_a_token_that_names_no_algorithm_is_refused(door: Door) -> None:
    names: list[Any] = ["none", "None", "NONE", "nOnE", " none", "none\0", "", None, ["none"], 0]
    headers = [{"alg": name, "kid": "a"} for name in names]
    headers += [{"kid": "a"}, {"alg": "none"}, {"alg": "none", "kid": None}]
    _, _, signature = door.signed().split(".")
    tokens = [
        f"{encoded(header)}.{encoded(door.issuer.claims())}.{mark}"
        for header in headers
        for mark in ("", "AA", signature)
    ]
    refusals = await door.refuses("J1", "unsigned tokens", tokens)
    assert Counter(refusals) == {
        "corp: InvalidAlgorithmError": 21,
        "corp: alg is not a string": 12,
        "corp: no key for this token": 3,
        "corp: InvalidTokenError": 3,
    }


def public_texts(issuer: Issuer, kid: str) -> list[bytes]:
    """A public key in every form in which it could be taken for a shared secret."""
    public, jwk = issuer.public_key(kid), issuer.jwk(kid)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    served = json.dumps({"keys": [issuer.jwk(name) for name in ("a", kid)]})
    texts = [
        json.dumps(jwk),
        json.dumps(jwk, separators=(",", ":")),
        json.dumps(jwk, sort_keys=True, separators=(",", ":")),
        json.dumps(jwk, indent=2),
        served,
        jwk["n"],
        kid,
        "",
    ]
    forms = [pem, pkcs1, *(text.encode() for text in texts), b"".join(pem.split(b"\n")[1:-2])]
    for form in list(forms):
        mutated = form.replace(b"\n", b"\r\n")
        forms += [mutated, form.replace(b"\n", b"\r"), form.strip(), mutated.strip()]
        forms += [form + b"\n", form + b"\r\n", form + b"\0"]
    forms += [der, base64.urlsafe_b64decode(jwk["n"] + "==")]
    return list(dict.fromkeys(forms))


async def test_j2_hs256_with_the_pem_or_jwk_text_as_secret_is_refused(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    report: Report,
) -> None:
    """Beside the issuer, one provider holds its key as PEM, and one a true shared secret."""
    issuer.add_key("r", "RS256")
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    pem = issuer.public_key("r").public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    common = {"type": "jwt", "issuer": issuer.url, "audience": "llm"}
    auth = {
        **issuer.provider(),
        "pem": {**common, "algorithm": "RS256", "public_key": {"file": str(tmp_path / "key.pem")}},
        "own": {**common, "algorithm": "HS256", "secret": {"env": SECRET_VARIABLE}},
    }
    door = Door(await start_gateway(guarded(upstream, auth)), upstream, issuer, report)
    header = {"alg": "HS256", "kid": "r"}
    secrets = public_texts(issuer, "r")
    assert pem in secrets
    assert pem.replace(b"\n", b"\r\n") in secrets
    tokens = [
        signed(hmac_of(secret, algorithm), issuer.claims(), {**header, "alg": algorithm})
        for secret in secrets
        for algorithm in ("HS256", "HS384", "HS512")
    ]
    tokens += [
        signed(hmac_of(secret), issuer.claims(), {"alg": name})
        for secret in secrets
        for name in ("HS256", "RS256")
    ]
    # Made in the same way with the true secret, it is good.
    good = signed(hmac_of(SECRET.encode()), issuer.claims(), header)
    refusals = await door.refuses(
        "J2", "tokens signed with the public key's text", tokens, good=good
    )
    assert {reason.split("; ")[1] for reason in refusals} == {
        "pem: InvalidAlgorithmError",  # HS256, 384 and 512
        "pem: InvalidSignatureError",  # RS256
    }
    assert {reason.split("; ")[0] for reason in refusals} == {
        "corp: InvalidAlgorithmError",
        "corp: no key for this token",
        "corp: InvalidSignatureError",
    }


async def test_j5_an_empty_or_null_signature_is_refused(
    start_gateway: StartGateway, upstream: ScriptedUpstream, issuer: Issuer, report: Report
) -> None:
    issuer.add_key("r", "RS256")
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    door = Door(gateway, upstream, issuer, report)
    marks = ["", "null", "AA", *(encoded(data) for data in (b"\0", bytes(64), bytes(256), None))]
    unsigned, broken = [], []
    for key in ("a", "r"):
        head, body, _ = door.signed(key=key).split(".")
        unsigned += [f"{head}.{body}.{mark}" for mark in marks]
        broken += [f"{head}.{body}", f"{head}.{body}..", f"{head}..", "..", "."]
    refusals = await door.refuses("J5", "tokens with no signature to speak of", unsigned)
    assert set(refusals) == {"corp: InvalidSignatureError"}
    refusals = await door.refuses("J5", "tokens of too few or many parts", broken)
    assert set(refusals) == {"corp: not a JWT", "corp: DecodeError"}


def spellings(part: str) -> list[str]:
    """Every other text that a lenient decoder reads as the same bytes."""
    raw = base64.urlsafe_b64decode(part + "==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = [part[:-1] + character for character in alphabet]
    padded = [part + pad for pad in ("=", "==", "===", "=A", "====")]
    standard = [part.replace("-", "+").replace("_", "/")]
    spaced = [part[:8] + gap + part[8:] for gap in (" ", "\t", "!", "%3D", "é")]
    same = [one for one in last + standard if base64.urlsafe_b64decode(one + "==") == raw]
    return [one for one in [*same, *padded, *spaced] if one != part]


async def test_j6_base64_that_is_not_canonical_is_refused(door: Door) -> None:
    token = door.signed()
    while not {"-", "_"} <= set(token.rpartition(".")[2]):
        token = door.signed()  # no two are the same; these characters have another spelling
    parts = token.split(".")
    tokens = [
        ".".join([*parts[:place], other, *parts[place + 1 :]])
        for place in range(3)
        for other in spellings(parts[place])
    ]
    # Of the signature: 15 by the 4 bits left over in its last character, one by `+` and `/`.
    assert len(spellings(parts[2])) >= 16 + 10
    refusals = await door.refuses("J6", "other spellings of a good token", tokens, good=token)
    assert set(refusals) == {"corp: not a JWT"}


async def test_j10_an_es256_signature_of_zeros_or_of_the_order_is_refused(door: Door) -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    numbers = [0, 1, order - 1, order, order + 1, 2**256 - 1]
    raw = [r.to_bytes(32) + s.to_bytes(32) for r in numbers for s in numbers]
    der = [bytes.fromhex("3006020100020100"), bytes.fromhex("30060201000201ff")]
    short = [bytes(63), bytes(65), bytes(128), bytes(1)]
    head, body, _ = door.signed().split(".")
    tokens = [f"{head}.{body}.{encoded(signature)}" for signature in raw + der + short]
    refusals = await door.refuses("J10", "psychic signatures", tokens)
    assert set(refusals) == {"corp: InvalidSignatureError"}


async def test_j12_a_token_with_one_byte_changed_is_refused(door: Door) -> None:
    """Over the wire, what a header line can carry; a hundred thousand are in tests/auth."""
    token, random = door.signed(), Random(12)
    printable = [chr(code) for code in range(0x21, 0x7F)]
    tokens = []
    for _ in range(1000):
        place = random.randrange(len(token))
        other = random.choice([one for one in printable if one != token[place]])
        tokens.append(token[:place] + other + token[place + 1 :])
    refusals = await door.refuses("J12", "tokens with one byte changed", tokens, good=token)
    # Not all fail at their form: the changes get as far as the signature.
    assert refusals.count("corp: InvalidSignatureError") > 100


# -- the header --------------------------------------------------------------------------------


async def test_j3_a_kid_is_only_ever_compared(door: Door) -> None:
    kids: list[Any] = [
        *("../../dev/null", "../../../../../../dev/null", "/dev/null", "file:///dev/null"),
        *("a' OR '1'='1", "x' UNION SELECT 'secret' -- ", "a; cat /dev/null", "a|id", "$(id)"),
        *("", "A", "a ", "a\0", "a\r\n", "\0", "*", "%", "a.b", "__proto__", "\ud800", "é"),
    ]
    shapes: list[Any] = [None, 0, 1.5, True, ["a"], {"a": "a"}, [], {}]
    tokens = []
    for kid in kids:
        # A good key's signature, and those that a look-up by such a name could find the secret of.
        tokens.append(door.signed(kid=kid))
        tokens += [
            signed(hmac_of(secret), door.issuer.claims(), {"alg": "HS256", "kid": kid})
            for secret in (b"", b"secret", b"a")
        ]
    refusals = await door.refuses("J3", "tokens whose kid names no key", tokens)
    assert set(refusals) == {"corp: no key for this token"}
    shaped = [door.signed(kid=kid) for kid in shapes]
    refusals = await door.refuses("J3", "tokens whose kid is no text", shaped)
    assert set(refusals) == {"corp: InvalidTokenError"}
    long = [door.signed(kid="a" * length) for length in (257, 4000, 10 * 1024)]
    refusals = await door.refuses("J3", "tokens with a kid of up to 10 KB", long)
    assert refusals == ["corp: kid is not a short string"] * 3


async def test_j3_without_a_kid_the_only_key_of_the_algorithm_decides(
    door: Door, stranger: Issuer
) -> None:
    header, claims = {"alg": "ES256"}, door.issuer.claims()
    good = signed(partial(door.issuer.sign, "a"), claims, header)
    forged = [signed(partial(stranger.sign, "a"), claims, header)]
    forged += [signed(hmac_of(b""), claims, {"alg": name}) for name in ("HS256", "ES256", "RS256")]
    refusals = await door.refuses("J3", "forged tokens without a kid", forged, good=good)
    assert Counter(refusals) == {
        "corp: InvalidSignatureError": 2,
        "corp: no key for this token": 2,
    }


async def test_j3_without_a_kid_no_key_is_tried_where_there_are_several(
    start_gateway: StartGateway, upstream: ScriptedUpstream, issuer: Issuer, report: Report
) -> None:
    issuer.add_key("b", "ES256")
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    door = Door(gateway, upstream, issuer, report)
    claims, header = issuer.claims(), {"alg": "ES256"}
    tokens = [signed(partial(issuer.sign, key), claims, header) for key in ("a", "b")]
    refusals = await door.refuses("J3", "signed tokens that name none of two keys", tokens)
    assert set(refusals) == {"corp: no key for this token"}


async def test_j4_what_a_header_points_to_is_never_fetched(door: Door, report: Report) -> None:
    async with Issuer() as evil:
        evil.add_key("a", "ES256")
        evil.add_key("e", "ES256")
        certificate = encoded(b"a certificate")
        pointers: list[dict[str, Any]] = [
            {"jku": f"{evil.url}/keys"},
            {"jku": f"{door.issuer.url}/keys@{evil.url}/keys"},
            {"x5u": f"{evil.url}/certificate"},
            {"x5u": f"{evil.url}/certificate", "x5t": certificate},
            {"x5c": [certificate]},
            {"jwk": evil.jwk("a")},
            {"jwk": evil.jwk("e"), "jku": f"{evil.url}/keys", "x5u": f"{evil.url}/certificate"},
            {"jwk": {"kty": "oct", "k": encoded(b""), "alg": "HS256"}},
            {"iss": evil.url},
        ]
        tokens = [
            evil.token(kid, header=pointer, iss=iss)
            for pointer in pointers
            for kid in ("a", "e")
            for iss in (door.issuer.url, evil.url)
        ]
        refusals = await door.refuses("J4", "tokens that bring or point to their key", tokens)
        assert {reason.partition(": iss is ")[0] for reason in refusals} == {
            "corp: InvalidSignatureError",
            "corp: no key for this token",
            "corp: not of this issuer",
        }
        report("J4", "outbound requests to where headers point", sum(evil.hits.values()))
        assert not evil.hits
        # It would have answered.
        assert await http_fetch(None)(f"{evil.url}/keys")
        assert evil.hits == {"/keys": 1}


async def test_j7_a_critical_extension_is_refused_though_the_signature_is_good(door: Door) -> None:
    headers: list[dict[str, Any]] = [
        {"crit": ["x"], "x": 1},
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64", "x"], "b64": True, "x": 1},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"]},
        {"crit": ["B64"], "B64": True},
        {"crit": ["kid"]},
        {"crit": ["alg"]},
        {"b64": False},
    ]
    shapes: list[Any] = [[], None, "x", "", {}, {"x": 1}, 0, True, [1], [None], [[]]]
    headers += [{"crit": crit} for crit in shapes]
    tokens = [door.signed(**header) for header in headers]
    refusals = await door.refuses("J7", "tokens with a critical extension", tokens)
    assert set(refusals) == {"corp: InvalidTokenError", "corp: DecodeError"}
    # An extension that is not critical may be ignored (RFC 7515 section 4.1.11).
    await door.lets_in(door.signed(x=1))


# -- the claims --------------------------------------------------------------------------------


def with_time(door: Door, name: str, text: str) -> str:
    """Signed claims in which a time is this JSON, which need not be what `json` would write."""
    claims = json.dumps(door.issuer.claims(**{name: "HERE"})).replace('"HERE"', text)
    return door.signed(claims.encode())


NO_TIMES = [
    *("null", '"soon"', '""', f"[{2**32}]", "{}"),
    *(f'"{2**32}"', '"1"'),  # the text of a number is not one
    *("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000),  # Python reads some of these
]
NOT_A_NUMBER = {
    "exp": {"MissingRequiredClaimError", "DecodeError", "ExpiredSignatureError: exp is '1'"},
    "nbf": {"DecodeError", "ImmatureSignatureError"},
    "iat": {"DecodeError", "ImmatureSignatureError", "InvalidIssuedAtError"},
}


@pytest.mark.parametrize("name", NOT_A_NUMBER)
async def test_j8_a_time_that_is_no_number_is_refused(door: Door, name: str) -> None:
    tokens = [with_time(door, name, text) for text in NO_TIMES]
    refusals = await door.refuses("J8", f"tokens with an {name} that is no number", tokens)
    expected = {*NOT_A_NUMBER[name], "exp, nbf or iat is not a number"}
    assert set(refusals) == {f"corp: {reason}" for reason in expected}


async def test_j8_a_missing_past_or_huge_exp_is_refused(door: Door) -> None:
    past = time.time() - 3600
    times = {
        "0": "ExpiredSignatureError: exp is 0",
        "-1": "ExpiredSignatureError: exp is -1",
        "true": "ExpiredSignatureError: exp is True",
        f"{past}": f"ExpiredSignatureError: exp is {past}",
        f"{int(past)}": f"ExpiredSignatureError: exp is {int(past)}",
        f"{10**12}": "exp is not a plausible time",
        f"{10**30}": "exp is not a plausible time",
        "1e300": "exp is not a plausible time",
    }
    claims = door.issuer.claims()
    del claims["exp"]
    tokens = [with_time(door, "exp", text) for text in times]
    refusals = await door.refuses(
        "J8", "tokens with an exp missing, past or huge", [*tokens, door.signed(claims)]
    )
    assert refusals == [f"corp: {reason}" for reason in times.values()] + [
        "corp: MissingRequiredClaimError"
    ]


async def test_j8_an_nbf_or_iat_to_come_is_refused(door: Door) -> None:
    times = [f"{int(time.time()) + 3600}", f"{time.time() + 3600}", f"{10**30}", "1e300"]
    tokens = [with_time(door, name, text) for name in ("nbf", "iat") for text in times]
    refusals = await door.refuses("J8", "tokens of the future", tokens)
    assert set(refusals) == {"corp: ImmatureSignatureError"}


async def test_j8_a_fraction_of_a_second_is_a_time(door: Door) -> None:
    """RFC 7519 section 2: a NumericDate may have a fraction."""
    await door.lets_in(with_time(door, "exp", f"{time.time() + 300:.3f}"))
    await door.lets_in(with_time(door, "nbf", f"{time.time() - 0.5:.3f}"))


async def test_j9_a_token_of_another_issuer_or_for_another_audience_is_refused(
    door: Door,
) -> None:
    url = door.issuer.url
    issuers: list[Any] = [
        *(f"{url}/", f"{url}0", f" {url}", f"{url} ", f"{url}\0"),
        *(url[:-1], url.upper(), "http", ""),
        *("https://evil.test", f"https://evil.test/{url}", f"{url}@evil.test", f"{url}.evil.test"),
        *([url], [url, "https://evil.test"], {"iss": url}, {url: url}, 0, True, None),
    ]
    audiences: list[Any] = [
        *("l", "ll", "lm", "llm ", " llm", "llm-", "LLM", "llm,other", "llm other", "other", "*"),
        *(["other"], ["ll", "m"], ["LLM"], ["llm "], ["other", "llm-too"], [["llm"]], ["llm", 1]),
        *({"aud": "llm"}, {"llm": "llm"}, 0, True, "", [], None),
    ]
    tokens = [door.signed(door.issuer.claims(iss=iss)) for iss in issuers]
    unissued, unaddressed = door.issuer.claims(), door.issuer.claims()
    del unissued["iss"], unaddressed["aud"]
    refusals = await door.refuses(
        "J9", "tokens of another issuer", [*tokens, door.signed(unissued)]
    )
    assert all(reason.startswith("corp: not of this issuer: iss is ") for reason in refusals)
    tokens = [door.signed(door.issuer.claims(aud=aud)) for aud in audiences]
    refusals = await door.refuses(
        "J9", "tokens for another audience", [*tokens, door.signed(unaddressed)]
    )
    found = {reason.partition(": aud is ")[0] for reason in refusals}
    assert found == {"corp: InvalidAudienceError", "corp: MissingRequiredClaimError"}
    await door.lets_in(door.signed(door.issuer.claims(aud=["other", "llm"])))


# -- the request -------------------------------------------------------------------------------


async def test_j11_a_token_may_be_as_long_as_a_head(door: Door) -> None:
    good = door.signed(door.issuer.claims(pad="x" * 23_000))
    assert 30_000 < len(good) < 32 * 1024
    forged = [door.signed(door.issuer.claims(pad="x" * 20_000))[:-8] + "AAAAAAAA"]
    refusals = await door.refuses("J11", "forged tokens of 27 KB", forged, good=good)
    assert set(refusals) == {"corp: InvalidSignatureError"}


async def test_j11_a_token_of_100_kb_is_more_than_a_head_may_have(
    door: Door, report: Report
) -> None:
    token = door.signed(door.issuer.claims(pad="x" * 75_000))
    assert len(token) > 100_000
    await door.lets_in(door.signed())
    raw = get("/v1/attack", f"Authorization: Bearer {token}")
    assert await refusal_flaw(door.gateway.port, raw, 431) == ""
    await door.lets_in(door.signed())
    report("J11", "tokens of 100 KB, forwarded", door.forwarded)
    assert door.forwarded == 0


async def test_j11_two_different_credentials_are_refused_though_either_be_good(
    door: Door, report: Report
) -> None:
    good = door.signed()
    names = ("Authorization", "authorization", "X-Api-Key", "Api-Key")
    values = ("Bearer forged", "forged", "", "Basic YTpi", door.signed(door.issuer.claims(jti="2")))
    pairs = [
        (f"Authorization: Bearer {good}", f"{name}: {value}") for name in names for value in values
    ]
    for pair in [*pairs, *((second, first) for first, second in pairs)]:
        response = await ask(door.gateway.port, get("/v1/pair", *pair))
        assert_error(response, 401)
        challenge = response.value("www-authenticate") or b""
        assert challenge.startswith(b'Bearer error="invalid_request"')
    joined = [f"{good}, Bearer {good}", f"{good},{good}", f"{good} {good}", f"Bearer {good}"]
    await door.refuses("J11", "lists of tokens in one line", joined, good=good)
    report("J11", f"of {2 * len(pairs)} pairs of credentials, forwarded", door.forwarded)
    assert door.forwarded == 0


# -- the clock ---------------------------------------------------------------------------------


async def test_c1_a_clock_that_is_59_s_off_is_forgiven_and_one_of_61_s_is_not(
    door: Door, report: Report
) -> None:
    """The issuer's clock against ours; times are whole seconds, rounded to the safe side."""
    now = time.time()
    forgiven = {"exp": math.ceil(now) - 59, "nbf": int(now) + 59, "iat": int(now) + 59}
    for name, value in forgiven.items():
        await door.lets_in(door.signed(door.issuer.claims(**{name: value})))
    now = time.time()
    refused = {"exp": int(now) - 61, "nbf": math.ceil(now) + 61, "iat": math.ceil(now) + 61}
    tokens = [door.signed(door.issuer.claims(**{name: value})) for name, value in refused.items()]
    refusals = await door.refuses("C1", "tokens of a clock 61 s off", tokens)
    assert refusals == [
        f"corp: ExpiredSignatureError: exp is {refused['exp']}",
        "corp: ImmatureSignatureError",
        "corp: ImmatureSignatureError",
    ]
    report("C1", f"of {len(forgiven)} tokens of a clock 59 s off, accepted", len(forgiven))
