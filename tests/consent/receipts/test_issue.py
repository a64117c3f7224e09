"""Receipts as signed files: every event has one, without any value, and every change of a byte is detected."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.consent.receipts.samples import AT, FORMS, KEY, KINDS, PERSON, RECORDER, SUBJECT, event, facts
from vault.consent.model import RESTRICTION, By, Method, Source
from vault.consent.receipts.issue import check_receipt, read_contents, signed_receipt
from vault.consent.receipts.model import EVENT_TEXTS
from vault.crypto.signing import BadDocument, SigningKey, parse

each_form = pytest.mark.parametrize("form", FORMS)
each_kind = pytest.mark.parametrize("kind", KINDS)
CANARY = "Ada Lovelace ada@example.org +49 30 901820"
slugs = st.from_regex(r"[a-z0-9](?:[a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
events = st.builds(
    event,
    st.sampled_from(KINDS),
    by=st.sampled_from(By.__args__),
    method=st.sampled_from(Method.__args__) | st.none(),
    origin=st.sampled_from(Source.__args__),
    channel=slugs | st.just(CANARY) | st.none(),
    source=slugs | st.just(CANARY) | st.none(),
    ground=slugs | st.just(CANARY) | st.none(),
    evidence=st.just(CANARY.encode()) | st.none(),
    jurisdiction=st.sampled_from(["DE", "US-CA"]) | st.none(),
    valid_until=moments | st.none(),
    final=st.booleans(),
    answers=st.uuids() | st.none(),
)


def file_of(made, form="dpv"):
    return signed_receipt(KEY, made, form)


def written(file, **options):
    return json.dumps(file, ensure_ascii=False, **options).encode()


def verified(data):
    """Return the contents of a file; None if it is not authentic."""
    try:
        signed = check_receipt(parse(data))
        return read_contents(signed.document) if signed.sound else None
    except BadDocument:
        return None


@each_form
@each_kind
def test_every_kind_of_event_has_a_valid_receipt_with_its_contents(kind, form):
    said = verified(written(file_of(facts(event(kind)), form), indent=2))
    assert said.kind == kind in EVENT_TEXTS
    assert said.person == str(PERSON)
    assert said.controller == "Example Shop Ltd"
    assert said.occurred_at == "2026-11-22T08:31:00.000000Z"
    assert said.method == "checkbox"
    assert said.receipt == str(event(kind).id)
    if kind in RESTRICTION:
        assert said.purpose is None
    else:
        assert said.purpose in {"Send offers", "Prevent fraud"}


def test_every_kind_has_a_text():
    assert EVENT_TEXTS.keys() == set(KINDS)


@each_form
def test_a_withdrawal_names_the_consent_that_it_ends_and_its_notice(form):
    given_, gone = event("given"), event("withdrawn", 2, notice=None, answers=event("given").id)
    text = written(file_of(facts(given_, gone), form)).decode()
    said = verified(text.encode())
    assert (said.kind, said.notice) == ("withdrawn", "marketing@3")
    assert str(given_.id) in text


@each_form
@given(made=st.lists(events, min_size=1, max_size=3))
def test_no_receipt_contains_evidence_free_text_or_internal_ids(form, made):
    text = written(file_of(facts(*made), form)).decode()
    for word in ("Lovelace", "ada@example.org", "901820", str(SUBJECT), str(RECORDER)):
        assert word not in text
    assert verified(text.encode()) is not None


@settings(max_examples=300)
@given(form=st.sampled_from(FORMS), kind=st.sampled_from(KINDS), place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))  # fmt: skip
def test_any_changed_byte_invalidates_a_receipt(form, kind, place, byte):
    """The file has no white space, so that every byte is significant."""
    data = bytearray(written(file_of(facts(event(kind)), form), separators=(",", ":")))
    position = int(place * len(data))
    before, data[position] = data[position], byte
    assert (verified(bytes(data)) is not None) == (byte == before)


def test_a_receipt_of_another_key_is_valid_by_that_key_only():
    other = SigningKey(bytes(32))
    signed = check_receipt(signed_receipt(other, facts(), "dpv"))
    assert signed.sound
    assert (signed.key_id, signed.signed_at) == (other.key_id, facts().made_at)
    assert signed.key_id != KEY.key_id


@each_form
def test_a_receipt_without_controller_details_is_complete(form):
    from vault.catalogue.company import Controller

    said = verified(written(file_of(facts(event(jurisdiction=None), controller=Controller()), form)))
    assert said.controller == "default"


@each_form
def test_an_undeclared_purpose_is_named_by_its_slug(form):
    from vault.consent.receipts.model import PurposeFacts

    said = verified(written(file_of(facts(event(purpose="old-one"), purpose=PurposeFacts.unknown("old-one")), form)))
    assert said.purpose == "old-one"


@pytest.mark.parametrize(
    "change",
    [
        lambda receipt: receipt.pop("@context"),
        lambda receipt: receipt["@context"].update(dpv="https://elsewhere.example/#"),
        lambda receipt: receipt.pop("dpv:hasRecordOfActivity"),
        lambda receipt: receipt["dpv:hasRecordOfActivity"].pop("dpv:hasDataSubject"),
        lambda receipt: receipt["dpv:hasRecordOfActivity"].pop("dpv:hasConsentStatus"),
        lambda receipt: receipt["dpv:hasRecordOfActivity"]["dpv:hasConsentStatus"][0].update({"cdv:kind": "sold"}),
        lambda receipt: receipt["dpv:hasRecordOfActivity"].update({"dpv:hasConsentStatus": "given"}),
    ],
    ids=range(7),
)
def test_a_signed_document_that_is_no_receipt_is_refused(change):
    from vault.crypto.signing import sign

    receipt = json.loads(written(file_of(facts())))["receipt"]
    change(receipt)
    file = sign(KEY, "cdv-receipt-v1", "receipt", receipt, AT)
    assert check_receipt(file).sound
    with pytest.raises(BadDocument):
        read_contents(file["receipt"])


@pytest.mark.parametrize(
    "change",
    [
        lambda receipt: receipt.update(version="KI-CR-v1.0.0"),
        lambda receipt: receipt.update(piiControllers=[]),
        lambda receipt: receipt.update(services=[]),
        lambda receipt: receipt["services"][0].update(purposes=[]),
        lambda receipt: receipt.pop("event"),
        lambda receipt: receipt["event"].update(kind="sold"),
    ],
    ids=range(6),
)
def test_a_signed_document_that_is_no_kantara_receipt_is_refused(change):
    receipt = json.loads(written(file_of(facts(), "kantara")))["receipt"]
    change(receipt)
    with pytest.raises(BadDocument):
        read_contents(receipt)
