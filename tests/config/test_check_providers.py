"""Identity providers whose keys are missing or do not fit are found at start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.config.documents import Document, document, keys_in, said_of


def provider(**fields: Any) -> Document:
    return {"p": {"type": "jwt", "issuer": "i", "audience": "a", **fields}}


def test_keys_in_a_store_that_is_one_process_are_found() -> None:
    auth = {"keys": {"type": "api_key"}}
    assert said_of(document(auth=auth)) == [
        "auth.keys: keeps its keys in the store, which is the memory of one process; "
        "give it a `file`, or set store.url to SQLite or a Redis"
    ]
    assert said_of(document(auth=auth, store={"url": "redis://10.0.0.1"})) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"algorithm": "HS256", "secret": {"file": "secret"}}, None),
        ({"algorithm": "RS256", "public_key": {"file": "rsa.pem"}}, None),
        ({"algorithm": "HS256"}, "HS256 needs `secret`"),
        ({"algorithm": "RS256"}, "RS256 needs `public_key`"),
        ({"algorithm": "HS256", "secret": {"file": "short"}}, "is shorter than 32 bytes"),
        ({"algorithm": "HS256", "secret": {"file": "rsa.pem"}}, "holds a PEM key"),
        ({"algorithm": "RS256", "public_key": {"file": "weak.pem"}}, "is shorter than 2048 bits"),
        (
            {"algorithm": "RS256", "public_key": {"file": "ec.pem"}},
            "is not of the kind RS256 needs",
        ),
        ({"algorithm": "RS256", "public_key": {"file": "secret"}}, "not a public key in PEM"),
        (
            {"algorithm": "HS256", "secret": {"file": "secret"}, "public_key": {"file": "rsa.pem"}},
            "is not used with HS256",
        ),
        (
            {"algorithm": "RS256", "secret": {"file": "secret"}, "public_key": {"file": "rsa.pem"}},
            "is not used with RS256",
        ),
    ],
)
def test_keys_that_do_not_fit_their_algorithm(
    tmp_path: Path, fields: Document, expected: str | None
) -> None:
    keys_in(tmp_path)
    said = said_of(document(auth=provider(**fields)), tmp_path)
    assert [expected in line for line in said if expected] == ([True] if expected else [])
    assert bool(said) == bool(expected)


@pytest.mark.parametrize(
    ("algorithm", "least_bytes"), [("HS256", 32), ("HS384", 48), ("HS512", 64)]
)
def test_a_shared_secret_is_as_long_as_its_hash(
    tmp_path: Path, algorithm: str, least_bytes: int
) -> None:
    for length, expected in ((least_bytes, 0), (least_bytes - 1, 1)):
        (tmp_path / "secret").write_bytes(b"s" * length)
        fields = provider(algorithm=algorithm, secret={"file": "secret"})
        said = said_of(document(auth=fields), tmp_path)
        assert said == [f"auth.p.secret: is shorter than {least_bytes} bytes"] * expected


@pytest.mark.parametrize(
    ("algorithm", "file", "expected"),
    [
        ("PS384", "rsa.pem", []),
        ("ES256", "ec.pem", []),
        ("EdDSA", "ed.pem", []),
        ("ES384", "ec.pem", ["is on another curve than ES384 needs"]),
        ("ES256", "rsa.pem", ["is not of the kind ES256 needs"]),
        ("EdDSA", "ec.pem", ["is not of the kind EdDSA needs"]),
        ("PS256", "ed.pem", ["is not of the kind PS256 needs"]),
    ],
)
def test_a_public_key_is_of_its_algorithms_kind(
    tmp_path: Path, algorithm: str, file: str, expected: list[str]
) -> None:
    keys_in(tmp_path)
    fields = provider(algorithm=algorithm, public_key={"file": file})
    assert said_of(document(auth=fields), tmp_path) == [
        f"auth.p.public_key: {reason}" for reason in expected
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"issuer": "https://sso.test", "jwks": "auto"}, []),
        ({"jwks": "https://sso.test/keys"}, []),
        ({"jwks": "http://127.0.0.1:8080/keys"}, []),
        ({"jwks": "https://sso.test/keys", "algorithms": ["RS256", "ES256"]}, []),
        ({}, ["auth.p: needs `jwks`, or `algorithm` with its key"]),
        (
            {"jwks": "http://sso.test/keys"},
            ["auth.p.jwks: keys cannot be fetched safely without TLS; use https"],
        ),
        (
            {"issuer": "http://sso.test", "jwks": "auto"},
            [
                "auth.p.jwks: keys cannot be fetched safely without TLS; "
                "use https, or `jwks` with a URL"
            ],
        ),
        (
            {"jwks": "https://sso.test/keys", "algorithm": "HS256", "secret": {"file": "secret"}},
            [
                "auth.p.algorithm: is not used with `jwks`; take one of them away",
                "auth.p.secret: is not used with `jwks`; take one of them away",
            ],
        ),
        (
            {"jwks": "https://sso.test/keys", "public_key": {"file": "rsa.pem"}},
            ["auth.p.public_key: is not used with `jwks`; take one of them away"],
        ),
        (
            {"jwks": "https://sso.test/keys", "ca": "none.pem"},
            ["auth.p.ca: cannot be used: No such file or directory"],
        ),
        (
            {"algorithm": "RS256", "public_key": {"file": "rsa.pem"}, "algorithms": ["RS256"]},
            ["auth.p.algorithms: is used with `jwks` only"],
        ),
    ],
)
def test_keys_come_from_one_source(tmp_path: Path, fields: Document, expected: list[str]) -> None:
    keys_in(tmp_path)
    assert said_of(document(auth=provider(**fields)), tmp_path) == expected


def test_a_claim_cannot_fill_a_header_that_is_the_gateways(tmp_path: Path) -> None:
    keys_in(tmp_path)
    fields = provider(
        algorithm="HS256", secret={"file": "secret"}, headers={"x-user": "sub", "Host": "sub"}
    )
    assert said_of(document(auth=fields), tmp_path) == [
        "auth.p.headers.Host: is the gateway's to set"
    ]


def test_a_key_cannot_stand_in_a_header_that_is_the_gateways() -> None:
    keys = {"k": {"type": "api_key", "file": "keys.yaml", "header": "Connection"}}
    assert said_of(document(auth=keys)) == ["auth.k.header: cannot carry a key"]


def test_a_provider_of_no_known_type_lists_the_types() -> None:
    (said,) = said_of(document(auth={"p": {"type": "oauth"}}))
    assert said.startswith("auth.p: ")
    assert "'jwt', 'api_key'" in said


def test_teams_of_tokens_need_a_claim_and_a_shared_store() -> None:
    key = {"jwks": "https://sso.test/keys"}
    said = said_of(document(auth=provider(**key, teams={"/a": "a"}, default_team="a")))
    assert said == [
        "auth.p.teams: is used with `claims.team` only",
        "auth.p.default_team: is used with `claims.team` only",
    ]
    auth = provider(**key, claims={"team": "groups"}, teams={"/a": "a"}, default_team="a")
    assert said_of(document(auth=auth)) == [
        "auth.p.claims.team: names teams, which are kept in the store of all processes; "
        "set store.url to SQLite or a Redis"
    ]
    assert said_of(document(auth=auth, store={"url": "redis://10.0.0.1"})) == []
