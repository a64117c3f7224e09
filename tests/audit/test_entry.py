"""The allow-list of keys and forms of audit entries, checked on the stored bytes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.crypto.support import subject_keys
from vault.audit.entry import Action, Decision, Entry, EntryRefused, checked, decode, encode, leaf_hash
from vault.bootstrap import shipped_policies
from vault.crypto.seal import record_aad
from vault.policy.policy_set import PolicySet

ID = UUID("01993000-0000-7000-8000-000000000001")
WHO = UUID("01993000-0000-7000-8000-000000000002")
WHOM = (UUID("5e0a3d1c-0000-4000-8000-000000000003"), UUID("5e0a3d1c-0000-4000-8000-000000000004"))
SEALED = b"\x01" + bytes(2 + 12 + 16 + 16)

# The same forms as in the code, told a second time.
SLUG = r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?"
NAME = r"(?=.{1,200}\Z)[a-z][a-z0-9_]*([.:][a-z0-9_-]+){0,2}"
CODE = r"[a-z][a-z0-9-]{0,63}"
FORMS = {
    "tenant": SLUG,
    "principal_name": SLUG,
    "purpose": SLUG,
    "fields": NAME,
    "matched": NAME,
    "refused": NAME,
    "refused code": CODE,
    "code": CODE,
    "rule": r"[A-Za-z0-9_.:,;*()|/\t -]{1,1000}",
    "policy": r"sha256:[0-9a-f]{64}",
    "request": r"[A-Za-z0-9-]{1,64}",
    "at": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z",
    "action": "|".join(map(re.escape, Action.__args__)),
    "decision": "|".join(map(re.escape, Decision.__args__)),
}
LISTS = {"fields", "matched"}


def entry(**facts):
    base = {
        "id": ID,
        "tenant": "default",
        "at": "2026-03-05T12:00:00.000000Z",
        "action": "read",
        "decision": "allowed",
    }
    return Entry(**(base | facts))


def with_text(field, text):
    if field in LISTS:
        return entry(**{field: ("profile.email.clear", text)})
    if field == "refused":
        return entry(refused={text: "not-granted"})
    if field == "refused code":
        return entry(refused={"profile.email.clear": text})
    return entry(**{field: text})


FULL = entry(
    principal=WHO,
    principal_name="shop",
    purpose="order-fulfilment",
    fields=("profile.email.clear", "purchase.amount.clear"),
    matched=("profile.phone.clear",),
    subjects=WHOM,
    refused={"profile.name.clear": "not-granted", "health_note.body.clear": "purpose-excludes-field"},
    code="partly",
    rule="policy.csv:12: p, support, *, profile.*, read, *, allow",
    policy="sha256:" + "0a" * 32,
    request="0199-abc",
    reason=SEALED,
    reasons=(SEALED, b""),
    target=WHO,
    count=3,
)


def test_the_bytes_are_canonical_json():
    """Sorted keys, no white space and no implied values, so that another implementation can read them."""
    body = encode(FULL)
    answer = json.loads(body)
    assert body == json.dumps(answer, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert answer["subjects"] == [str(subject) for subject in WHOM]
    assert answer["refused"] == {
        "health_note.body.clear": "purpose-excludes-field",
        "profile.name.clear": "not-granted",
    }
    assert encode(entry()) == (
        b'{"action":"read","at":"2026-03-05T12:00:00.000000Z","decision":"allowed",'
        b'"id":"01993000-0000-7000-8000-000000000001","tenant":"default"}'
    )


def test_the_bytes_do_not_depend_on_the_order_of_the_facts():
    one = entry(refused={"profile.a.clear": "not-granted", "profile.b.clear": "no-value"})
    other = entry(refused={"profile.b.clear": "no-value", "profile.a.clear": "not-granted"})
    assert encode(one) == encode(other)


def test_an_entry_reads_back_as_it_was_written():
    assert decode(encode(FULL)) == FULL
    assert checked(FULL).entry == FULL


@pytest.mark.parametrize(
    ("leaf", "digest"),
    [
        # the leaves of the reference tree of Certificate Transparency (RFC 6962 §2.1: SHA-256 of 00 and the leaf)
        ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        ("00", "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"),
        ("10", "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7"),
        ("2021", "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7"),
    ],
)
def test_leaves_are_hashed_as_in_the_rfc(leaf, digest):
    assert leaf_hash(bytes.fromhex(leaf)).hex() == digest


@pytest.mark.parametrize("field", FORMS)
@given(text=st.text(max_size=80) | st.from_regex(r"[a-z0-9.:_@ -]{1,70}"))
@example(text="")
@example(text="slug\n")
@example(text="profile.email.clear\n")
@example(text="a" * 65)
@example(text="a" * 1_001)
@example(text="read")
@example(text="2026-03-05T12:00:00.000000Z\n")
@example(text="２０２６-03-05T12:00:00.000000Z")  # digits that are not ASCII's
@example(text="2026-13-45T12:00:00.000000Z")
@example(text="Ada Lovelace, 12 St James's Square")
@example(text="\ud800")
def test_a_text_not_in_the_form_of_its_field_is_refused(field, text):
    created = with_text(field, text)
    if re.fullmatch(FORMS[field], text) and (field != "at" or is_date(text)):
        assert json.dumps(text).encode() in encode(created)
    else:
        with pytest.raises(EntryRefused) as caught:
            encode(created)
        assert len(text) < 4 or text not in str(caught.value)


def is_date(text):
    try:
        return datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def test_every_rule_of_the_shipped_policies_can_be_named():
    """If the log refused a rule's name, each denial by that rule would fail."""
    rules = PolicySet.from_folder(shipped_policies()).rules.rules
    assert rules
    for rule in rules:
        encode(entry(rule=str(rule)))


@pytest.mark.parametrize("field", FORMS)
@given(email=st.emails())
def test_text_that_looks_like_an_email_address_is_refused_in_every_field(field, email):
    with pytest.raises(EntryRefused):
        encode(with_text(field, email))


WRONG = [
    ("id", str(ID) + "x"),
    ("id", 7),
    ("id", None),
    ("tenant", None),
    ("tenant", b"default"),
    ("at", 1_700_000_000),
    ("at", None),
    ("principal", "somebody"),
    ("principal_name", ["shop"]),
    ("fields", "profile.email.clear"),
    ("fields", ("profile.email.clear", 3)),
    ("fields", {"profile.email.clear": 1}),
    ("subjects", ("ada",)),
    ("subjects", WHOM[0]),
    ("refused", ["profile.email.clear"]),
    ("refused", {"profile.email.clear": 4}),
    ("refused", {3: "not-granted"}),
    ("code", True),
    ("rule", 1.5),
    ("request", {"a": 1}),
    ("target", 12),
    ("count", 0),
    ("count", -1),
    ("count", "3"),
    ("count", True),
    ("count", 2.5),
    ("count", float("nan")),
    ("reason", "words"),
    ("reasons", "words"),
    ("reasons", ("words",)),
    ("purpose", object()),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_value_of_a_wrong_type_is_refused(field, value):
    for sound in (entry(), FULL):
        encode(sound)  # what is known to be right makes no look-alike of it right
        with pytest.raises(EntryRefused) as caught:
            encode(msgspec.structs.replace(sound, **{field: value}))
        assert caught.value.code == "audit-entry-refused"
        assert caught.value.__cause__ is None


def test_stored_values_are_the_checked_values_of_the_declared_type():
    """A value of a similar type with the same JSON is converted to the declared type."""
    read, _at, body = checked(entry(id=str(ID), subjects=[str(WHOM[0])], fields=["profile.email.clear"]))
    assert read == entry(subjects=WHOM[:1], fields=("profile.email.clear",))
    assert body == encode(read)
    read, at, _body = checked(entry(at=datetime(2026, 3, 5, 12, 0, 0, 1, tzinfo=UTC)))
    assert read.at == "2026-03-05T12:00:00.000001Z"
    assert at == datetime(2026, 3, 5, 12, 0, 0, 1, tzinfo=UTC)


def test_an_unknown_key_is_refused_and_not_dropped():
    with pytest.raises(TypeError):
        entry(email="ada@example.org")
    body = encode(FULL)
    with pytest.raises(msgspec.ValidationError):
        decode(body[:-1] + b',"email":"ada@example.org"}')


@pytest.mark.parametrize(
    "words", [b"order 4711", b"\x01", b"\x01" + b"order 4711", b"\x01" * 46, b"\x01" * 48, b"a" * 47, b" " * 63]
)
def test_a_reason_that_is_not_sealed_is_refused(words):
    for facts in ({"reason": words}, {"reasons": (SEALED, words)}):
        with pytest.raises(EntryRefused):
            encode(entry(**facts))


@given(st.binary(min_size=1, max_size=200).filter(lambda words: words == words.rstrip()))
def test_a_sealed_reason_is_accepted(words):
    sealed = subject_keys().seal("reason", words, record_aad("default", ID, "audit", ID))
    assert decode(encode(entry(reason=sealed))).reason == sealed
