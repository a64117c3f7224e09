import base64
import hmac
import json
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwk

from vault.errors import Misconfigured, NotAuthenticated
from vault.principals.oidc import LEEWAY, TenantClaim, TokenVerifier, unverified_issuer
from vault.principals.store import Principals


@pytest.fixture
def verifier(issuer, clock, seconds):
    return TokenVerifier(issuer.settings(), clock, monotonic=seconds)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header, claims, sign):
    """Write a token that a library would refuse to write."""
    text = b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode())
    return text + "." + b64(sign(text.encode()))


async def refused(verifier, token):
    with pytest.raises(NotAuthenticated) as error:
        await verifier.verify(token)
    assert error.value.detail == "the bearer is not accepted"


@pytest.mark.parametrize(("alg", "kid"), [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")])
async def test_the_three_algorithms_are_accepted(verifier, issuer, alg, kid):
    principal = (await verifier.verify(issuer.token(alg, kid))).principal
    assert (principal.tenant, principal.kind, principal.roles) == ("default", "staff", ("support",))


async def test_a_person_has_the_same_id_at_each_sign_in_and_a_name_that_reveals_nothing(verifier, issuer):
    first = (await verifier.verify(issuer.token())).principal
    second = (await verifier.verify(issuer.token("RS256", "rsa", jti="another"))).principal
    other = (await verifier.verify(issuer.token(sub="grace@example.org"))).principal
    assert first == second
    assert first.id != other.id
    assert first.name == f"oidc-{first.id.hex[:12]}"
    assert first.id.version == 8
    assert "ada" not in repr(first)


async def test_the_derivation_of_the_id_is_frozen(verifier, issuer):
    assert str((await verifier.verify(issuer.token())).principal.id) == "56b1fc6c-1290-8936-8d07-ba9ebf14c528"


async def test_an_unsigned_token_is_refused(verifier, issuer):
    for alg in ("none", "None", "NONE", ""):
        await refused(verifier, by_hand({"alg": alg, "kid": "ec"}, issuer.claims(), lambda _: b""))


async def test_a_token_signed_by_hmac_with_the_public_key_is_refused(verifier, issuer):
    """Algorithm confusion: HMAC with a public key, which everybody knows, as its secret (RFC 8725 §2.1)."""
    for kid in ("rsa", "ec", "ed"):
        key = issuer.key(kid)
        for secret in (key.as_pem(private=False), key.as_der(private=False), json.dumps(key.as_dict()).encode()):
            for alg in ("HS256", "RS256", "ES256", "EdDSA"):
                token = by_hand(
                    {"alg": alg, "kid": kid}, issuer.claims(), lambda text, s=secret: hmac.digest(s, text, sha256)
                )
                await refused(verifier, token)


async def test_a_symmetric_key_in_the_set_is_not_used(verifier, issuer):
    shared = jwk.OctKey.generate_key(256, {"kid": "shared"})
    issuer.body = json.dumps({"keys": [shared.as_dict(private=True), issuer.key("ec").as_dict(private=False)]}).encode()
    await refused(verifier, issuer.token("HS256", "shared", key=shared))
    await verifier.verify(issuer.token())


@pytest.mark.parametrize(("alg", "kid"), [("RS256", "ec"), ("ES256", "rsa"), ("EdDSA", "rsa"), ("ES256", "ed")])
async def test_a_key_of_another_type_than_the_algorithm_is_refused(verifier, issuer, alg, kid):
    right = {"RS256": "rsa", "ES256": "ec", "EdDSA": "ed"}[alg]
    await refused(verifier, issuer.token(alg, kid, key=issuer.key(right)))


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256"])
async def test_other_algorithms_of_a_good_key_are_refused(verifier, issuer, alg):
    await refused(verifier, issuer.token(alg, "rsa"))


async def test_a_key_in_the_token_is_ignored(verifier, issuer):
    own = jwk.ECKey.generate_key("P-256", {"kid": "ec"})
    brought = {"jwk": own.as_dict(private=False), "jku": "https://evil.example.org/jwks"}
    await refused(verifier, issuer.token(key=own, header=brought))


async def test_a_forged_or_changed_token_is_refused(verifier, issuer):
    head, _, signature = issuer.token().split(".")
    promoted = b64(json.dumps(issuer.claims(realm_access={"roles": ["crm-dpo"]})).encode())
    await refused(verifier, f"{head}.{promoted}.{signature}")
    await refused(verifier, f"{head}.{promoted}.")
    await refused(verifier, issuer.token(key=jwk.ECKey.generate_key("P-256", {"kid": "ec"})))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.example.com"},
        {"iss": None},
        {"iss": ["https://login.example.org"]},
        {"aud": "another"},
        {"aud": []},
        {"aud": None},
        {"aud": {"vault": 1}},
        {"exp": None},
        {"exp": "2999-01-01"},
        {"exp": True},
        {"exp": float("nan")},
        {"nbf": "soon"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_claims_that_are_missing_or_wrong_are_refused(verifier, issuer, changes):
    await refused(verifier, issuer.token(**changes))


async def test_expiry_and_not_before_hold_with_a_small_leeway(verifier, issuer, clock):
    now = int(clock.now().timestamp())
    await verifier.verify(issuer.token(exp=now - LEEWAY + 1))
    await refused(verifier, issuer.token(exp=now - LEEWAY))
    await verifier.verify(issuer.token(nbf=now + LEEWAY))
    await refused(verifier, issuer.token(nbf=now + LEEWAY + 1))
    await refused(verifier, issuer.token(iat=now + LEEWAY + 1))


async def test_an_expiry_too_large_for_a_float_breaks_nothing(verifier, issuer):
    assert (await verifier.verify(issuer.token(exp=10**400))).lifetime == 86_400


async def test_the_lifetime_is_what_is_left_and_never_the_leeway(verifier, issuer, clock):
    now = int(clock.now().timestamp())
    assert (await verifier.verify(issuer.token(exp=now + 17))).lifetime == 17
    assert (await verifier.verify(issuer.token(exp=now - 5))).lifetime == 0


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
async def test_types_for_signing_in_are_accepted(verifier, issuer, typ):
    await verifier.verify(issuer.token(header={"typ": typ}))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "logout+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": 7},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"kid": 7},
        {"kid": ["ec"]},
        {"alg": ["ES256"]},
        {"alg": None},
    ],
    ids=str,
)
async def test_a_header_made_for_something_else_is_refused(verifier, issuer, header):
    from joserfc.jwa import ESAlgorithm

    sign = ESAlgorithm("ES256", "P-256", 256).sign
    token = by_hand({"alg": "ES256", "kid": "ec", **header}, issuer.claims(), lambda text: sign(text, issuer.key("ec")))
    await refused(verifier, token)


async def test_an_unknown_header_parameter_is_ignored(verifier, issuer):
    from joserfc.jwa import ESAlgorithm

    sign = ESAlgorithm("ES256", "P-256", 256).sign
    header = {"alg": "ES256", "kid": "ec", "org.example": 1}
    await verifier.verify(by_hand(header, issuer.claims(), lambda text: sign(text, issuer.key("ec"))))


@pytest.mark.parametrize(
    "header",
    [b"[" * 3000, b'["alg"]', b'"alg"', b"7", b"null", b"\xff", b"", b'{"alg":"ES256"'],
    ids=["deep", "list", "text", "number", "null", "bytes", "empty", "cut"],
)
async def test_a_header_that_is_no_object_is_refused(verifier, issuer, header):
    await refused(verifier, f"{b64(header)}.{b64(json.dumps(issuer.claims()).encode())}.AAAA")


@given(text=st.text() | st.from_regex(r"\A[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\Z"))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
async def test_no_text_breaks_the_verifier(verifier, text):
    unverified_issuer(text)
    await refused(verifier, text)


@pytest.mark.parametrize("payload", [b"[" * 5000, b"7", b"{}", b'{"iss": 7}', b"\xff", b'["iss"]'])
def test_a_payload_without_an_issuer_has_none(payload):
    assert unverified_issuer(f"e30.{b64(payload)}.AAAA") is None


@pytest.mark.parametrize(
    ("claim", "claims", "roles"),
    [
        ("realm_access.roles", {}, ("support",)),
        (
            "realm_access.roles",
            {"realm_access": {"roles": ["crm-support", "crm-dpo", 7, ["crm-dpo"]]}},
            ("dpo", "support"),
        ),
        ("realm_access.roles", {"realm_access": None}, ()),
        ("realm_access.roles", {"realm_access": {"roles": {"crm-dpo": True}}}, ()),
        ("realm_access.roles", {"realm_access": ["crm-dpo"]}, ()),
        ("roles", {"roles": "crm-dpo"}, ("dpo",)),
        ("roles", {"roles": "crm-dpo crm-support"}, ()),  # one text is one value
        ("roles", {"roles": ["dpo", "support"]}, ()),  # our own names mean nothing in their mouth
        ("https://example.org/roles", {"https://example.org/roles": ["crm-dpo"]}, ("dpo",)),
    ],
    ids=str,
)
async def test_roles_are_those_that_the_settings_give(issuer, clock, claim, claims, roles):
    verifier = TokenVerifier(issuer.settings(roles_claim=claim), clock)
    assert (await verifier.verify(issuer.token(**claims))).principal.roles == roles


async def test_the_tenant_may_come_from_a_claim_within_those_allowed(issuer, clock):
    tenant = TenantClaim("brand", frozenset({"north", "south"}))
    verifier = TokenVerifier(issuer.settings(tenant=tenant), clock)
    assert (await verifier.verify(issuer.token(brand="south"))).principal.tenant == "south"
    for brand in ("default", "", ["north"], None, 7):
        await refused(verifier, issuer.token(brand=brand))


async def test_the_subject_may_come_from_another_claim(issuer, clock):
    verifier = TokenVerifier(issuer.settings(subject_claim="oid"), clock)
    first = (await verifier.verify(issuer.token(oid="1234", sub="a"))).principal
    second = (await verifier.verify(issuer.token(oid="1234", sub="b"))).principal
    assert first.id == second.id
    await refused(verifier, issuer.token())


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks": "http://login.example.org/jwks"},
        {"jwks": "ftp://127.0.0.1/jwks"},
        {"jwks": "http://127.0.0.1.example.org/jwks"},
        {"jwks": "https://exa mple:x/"},
        {"tenant": "Not A Slug"},
        {"tenant": TenantClaim("brand", frozenset())},
        {"roles": {"crm": "Not A Slug"}},
        {"audience": ""},
        {"issuer": ""},
    ],
    ids=str,
)
def test_unsafe_settings_are_refused(issuer, changes):
    with pytest.raises(Misconfigured):
        issuer.settings(**changes)


class TestThroughThePrincipals:
    """The same tokens by the way that a request takes."""

    @pytest.fixture
    def staff(self, database, keyring, clock, verifier, seconds):
        return Principals(database, keyring, clock, [verifier], monotonic=seconds)

    async def test_a_token_authenticates_and_is_cached_for_max_age(self, staff, issuer, seconds):
        token = issuer.token()
        principal = await staff.authenticate(token)
        assert staff.cached(token) == principal
        seconds.pass_by(5.0)
        assert staff.cached(token) is None

    async def test_a_token_is_not_cached_beyond_its_expiry(self, staff, issuer, clock, seconds):
        token = issuer.token(exp=int(clock.now().timestamp()) + 2)
        await staff.authenticate(token)
        seconds.pass_by(2.0)
        clock.advance(seconds=2 + LEEWAY)
        assert staff.cached(token) is None
        with pytest.raises(NotAuthenticated):
            await staff.authenticate(token)

    async def test_a_token_of_an_unknown_issuer_is_refused_without_a_fetch(self, staff, issuer):
        with pytest.raises(NotAuthenticated):
            await staff.authenticate(issuer.token(iss="https://login.example.com"))
        assert issuer.fetches == 0

    async def test_without_an_issuer_no_token_signs_in(self, principals, issuer):
        with pytest.raises(NotAuthenticated):
            await principals.authenticate(issuer.token())

    async def test_two_verifiers_of_one_issuer_are_refused(self, database, keyring, clock, verifier):
        with pytest.raises(Misconfigured):
            Principals(database, keyring, clock, [verifier, verifier])
