import asyncio
import json

import pytest
from joserfc import jwk

from vault.errors import Misconfigured, NotAuthenticated, Unavailable
from vault.principals.jwks import Jwks, usable_keys
from vault.principals.oidc import TokenVerifier


@pytest.fixture
def jwks(issuer, seconds):
    return Jwks(issuer.url, monotonic=seconds)


async def test_concurrent_callers_share_one_fetch(jwks, issuer):
    keys = await asyncio.gather(*(jwks.key(kid) for kid in ("rsa", "ec", "ed") * 10))
    assert all(keys)
    assert issuer.fetches == 1


async def test_an_unknown_id_makes_at_most_one_fetch_in_thirty_seconds(jwks, issuer, seconds):
    await jwks.key("ec")
    for second in range(29):
        assert await jwks.key(f"unknown-{second}") is None
        seconds.pass_by(1)
    assert issuer.fetches == 1
    seconds.pass_by(1)
    assert await asyncio.gather(*(jwks.key("unknown") for _ in range(10))) == [None] * 10
    assert issuer.fetches == 2


async def test_new_keys_are_added_and_withdrawn_ones_removed(jwks, issuer, seconds):
    await jwks.key("ec")
    issuer.keys = [jwk.ECKey.generate_key("P-256", {"kid": "new"})]
    seconds.pass_by(30)
    assert await jwks.key("new") is not None
    assert await jwks.key("ec") is None


async def test_a_withdrawn_key_expires_within_ten_minutes_without_a_request_for_another(jwks, issuer, seconds):
    await jwks.key("ec")
    issuer.keys = [key for key in issuer.keys if key.kid != "ec"]
    seconds.pass_by(600)
    assert await jwks.key("ec") is None


async def test_known_keys_are_used_for_an_hour_while_the_issuer_is_unavailable(jwks, issuer, seconds):
    await jwks.key("ec")
    issuer.status = 500
    seconds.pass_by(601)
    assert await jwks.key("ec") is not None
    seconds.pass_by(3000)
    with pytest.raises(Unavailable):
        await jwks.key("ec")
    issuer.status = 200
    seconds.pass_by(30)
    assert await jwks.key("ec") is not None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, None),
        (404, None),
        (302, None),
        (200, b"no json"),
        (200, b"[]"),
        (200, b'{"keys": []}'),
        (200, b"[" * 200_000),
    ],
)
async def test_an_answer_without_keys_is_unavailable_and_asked_again_only_after_a_pause(
    jwks, issuer, seconds, status, body
):
    issuer.status, issuer.body = status, body
    for _ in range(3):
        with pytest.raises(Unavailable):
            await jwks.key("ec")
    assert issuer.fetches == 1
    issuer.status, issuer.body = 200, None
    seconds.pass_by(5)
    assert await jwks.key("ec") is not None


async def test_an_answer_too_large_is_not_read(jwks, issuer):
    issuer.body = json.dumps(issuer.jwks() | {"padding": "x" * 300_000}).encode()
    with pytest.raises(Unavailable):
        await jwks.key("ec")


async def test_a_fetch_times_out_once_for_all_callers(seconds):
    async def say_nothing(reader, _writer):
        nonlocal visits
        visits += 1
        await reader.read()
        _writer.close()

    visits = 0
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        jwks = Jwks(f"http://127.0.0.1:{port}/jwks", timeout=0.1, monotonic=seconds)
        answers = await asyncio.gather(*(jwks.key("ec") for _ in range(20)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert visits == 1


async def test_an_unreachable_issuer_is_unavailable_and_not_a_refusal(issuer, clock):
    verifier = TokenVerifier(issuer.settings(jwks="http://127.0.0.1:9/jwks"), clock)
    with pytest.raises(Unavailable):
        await verifier.verify(issuer.token())


async def test_a_token_without_a_key_id_needs_a_set_of_one(issuer, clock):
    verifier = TokenVerifier(issuer.settings(), clock)
    with pytest.raises(NotAuthenticated):
        await verifier.verify(issuer.token("ES256", None, key=issuer.key("ec"), header={"kid": None}))
    only = issuer.key("ec").as_dict(private=False)
    del only["kid"]
    issuer.body = json.dumps({"keys": [only]}).encode()
    verifier = TokenVerifier(issuer.settings(), clock)
    token = issuer.token("ES256", None, key=jwk.ECKey.import_key(issuer.key("ec").as_dict(private=True)))
    assert (await verifier.verify(token)).principal.tenant == "default"


async def test_keys_come_from_a_file_and_follow_it(issuer, clock, seconds, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(issuer.jwks()))
    verifier = TokenVerifier(issuer.settings(jwks=str(file)), clock, monotonic=seconds)
    await verifier.verify(issuer.token())
    assert issuer.fetches == 0
    issuer.keys = [jwk.ECKey.generate_key("P-256", {"kid": "new"})]
    file.write_text(json.dumps(issuer.jwks()))
    seconds.pass_by(30)
    await verifier.verify(issuer.token(kid="new"))


def test_a_missing_file_is_reported_at_the_start(issuer, clock, tmp_path):
    with pytest.raises(Misconfigured):
        TokenVerifier(issuer.settings(jwks=str(tmp_path / "none.json")), clock)


def test_unusable_keys_are_skipped(issuer):
    ec = issuer.key("ec").as_dict(private=False)
    useless = [
        None,
        7,
        {},
        {"kty": "AKP", "alg": "ML-DSA-65"},
        jwk.OctKey.generate_key(256).as_dict(private=True),
        jwk.ECKey.generate_key("P-384").as_dict(private=False),
        jwk.OKPKey.generate_key("X25519").as_dict(private=False),
        {**ec, "use": "enc"},
        {**ec, "x": "AAAA"},
        {**ec, "x": 7},
        {"kty": "RSA", "e": "AQAB", "n": "A" * 300 + "Q" * 42},
        {"kty": "RSA", "e": "AQAB", "n": 7},
        {"kty": "RSA", "e": "AQAB"},
    ]
    assert list(usable_keys({"keys": [*useless, ec]})) == ["ec"]


def test_of_two_keys_with_one_id_the_first_counts(issuer):
    first = issuer.key("ec").as_dict(private=False)
    second = jwk.ECKey.generate_key("P-256", {"kid": "ec"}).as_dict(private=False)
    assert usable_keys({"keys": [first, second]})["ec"].as_dict(private=False)["x"] == first["x"]


@pytest.mark.parametrize("document", [None, 7, [], {}, {"keys": None}, {"keys": {"a": 1}}])
def test_a_document_that_is_no_set_has_no_keys(document):
    assert usable_keys(document) == {}
