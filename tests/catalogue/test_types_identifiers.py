"""E-mail addresses and phone numbers; the fast paths agree with the libraries."""

from __future__ import annotations

from datetime import date

import email_validator
import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vault.catalogue.types import TYPES, ValueProblem, show
from vault.catalogue.types.identifiers import _any_phone, plain_email, plain_phone
from vault.unicode import TooManyMarks

EMAIL, PHONE = TYPES["email"].normalise, TYPES["phone"].normalise

_LOCAL = st.text("abzABZ019.!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=70) | st.sampled_from(
    ["info", "Info", "POSTMASTER", "Abuse", "www", "informer", "sales"]
)
_LABEL = st.text("abzAZ09-", min_size=1, max_size=65) | st.sampled_from(["xn--mnchen-3ya", "ab--c", "test", "a", "com"])
_TOP = st.sampled_from(
    ["org", "ORG", "de", "test", "Test", "local", "invalid", "onion", "arpa", "localhost", "x", "c0m", "co1"]
)
ADDRESSES = st.builds(
    lambda local, labels, top: f"{local}@{'.'.join([*labels, top])}", _LOCAL, st.lists(_LABEL, max_size=6), _TOP
)


@settings(max_examples=1500, deadline=None)
@given(ADDRESSES)
@example("a@" + ".".join(["a" * 63] * 3) + "." + "a" * 59 + ".org")
@example("a" * 64 + "@" + "b" * 63 + ".org")
@example("a@b.local.org")
@example("ada@sub.test")
@example("ada@EXAMPLE.org\n")
def test_the_fast_path_for_addresses_agrees_with_the_library(text):
    address = plain_email(text)
    if address is not None:
        assert email_validator.validate_email(text, check_deliverability=False).normalized == address


@pytest.mark.parametrize("text", ["ada@example.org", "ada.lovelace+tag@mail.example.co.uk", "x_y-z@a-b.example"])
def test_plain_addresses_take_the_fast_path(text):
    assert plain_email(text) == text


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (" Ada.Lovelace@Example.ORG ", "Ada.Lovelace@example.org"),
        ("INFO@example.org", "info@example.org"),
        ("zoe\u0308@example.org", "zoë@example.org"),
        ("ada@MÜNCHEN.de", "ada@münchen.de"),
        ("ada@xn--mnchen-3ya.de", "ada@münchen.de"),
        ("\ufeffada@example.org", "ada@example.org"),
    ],
)
def test_addresses_are_normalised(given, stored):
    assert EMAIL(given, {}) == stored


@pytest.mark.parametrize(
    "text",
    ["ada", "@example.org", "ada@", "ada@localhost", "ada@example", "a b@example.org", "ada@@example.org", "ada@[127.0.0.1]",
     "Ada <ada@example.org>", '"a b"@example.org', "ada\u202e@example.org.", "a" * 250 + "@x.org", "ada@example.test",
     "ada\n@example.org", "ada＠example.org", "ada@exam\u200bple.org,x"],
)  # fmt: skip
def test_invalid_addresses_are_refused(text):
    with pytest.raises(ValueProblem):
        EMAIL(text, {})


_NUMBERS = st.builds(
    lambda code, rest: f"+{code}{rest}",
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)) | st.integers(1, 999),
    st.text("0123456789", min_size=1, max_size=13),
)


@settings(max_examples=4000, deadline=None)
@given(_NUMBERS)
@example("+4401234567890")
@example("+39012345678")
@example("+5491123456789")
@example("+79161234567")
@example("+78161234567")
def test_the_fast_path_for_numbers_agrees_with_the_library(text):
    if plain_phone(text):
        assert _any_phone(text, None) == text
        assert _any_phone(text, "US") == text


@settings(max_examples=600, deadline=None)
@given(_NUMBERS, st.sampled_from([None, "FR", "US", "IT"]))
@example("+84000000000", None)
def test_possible_numbers_in_e164_are_unchanged(text, region):
    try:
        number = PHONE(text, {"region": region} if region else {})
    except ValueProblem:
        return
    assert phonenumbers.is_possible_number(phonenumbers.parse(number))
    assert PHONE(number, {}) == number


@pytest.mark.parametrize("code", ["+33612345678", "+12025550143", "+4915123456789", "+447911123456", "+390612345678"])
def test_common_phone_numbers_are_normalised(code):
    assert PHONE(code, {}) == code


@pytest.mark.parametrize(
    ("given", "region", "stored"),
    [
        ("06 12 34 56 78", "FR", "+33612345678"),
        ("+33 (0)6 12 34 56 78", None, "+33612345678"),
        ("0033 6.12.34.56.78", None, "+33612345678"),
        ("(202) 555-0143", "US", "+12025550143"),
        ("tel:+1-202-555-0143", None, "+12025550143"),
        ("\u202a+1 202 555 0143\u202c", None, "+12025550143"),
        ("+٣٣٦١٢٣٤٥٦٧٨", None, "+33612345678"),
        ("+３３６１２３４５６７８", None, "+33612345678"),
        ("+33612345678", "US", "+33612345678"),
    ],
)
def test_written_numbers_become_e164(given, region, stored):
    assert PHONE(given, {"region": region} if region else {}) == stored


@pytest.mark.parametrize(
    "text",
    [
        "+",
        "12",
        "+999123456789",
        "+33",
        "+331234567890123",
        "1-800-FLOWERS",
        "+12025550143 ext. five",
        "call me",
        "+1 5550143",
    ],
)
def test_invalid_numbers_are_refused(text):
    with pytest.raises(ValueProblem):
        PHONE(text, {"region": "US"})


def test_a_national_number_needs_a_region():
    with pytest.raises(ValueProblem) as caught:
        PHONE("06 12 34 56 78", {})
    assert caught.value.code == "ambiguous"


@pytest.mark.parametrize(
    ("given", "region", "stored"),
    [
        ("+52 1 55 1234 5678", None, "+525512345678"),  # mobile numbers as they were before 2019
        ("+52 55 1234 5678", None, "+525512345678"),
        ("00 52 1 55 1234 5678", None, "+525512345678"),
        ("1 55 1234 5678", "MX", "+525512345678"),
        ("011 15-1234-5678", "AR", "+5491112345678"),
        ("+54 9 11 1234 5678", None, "+5491112345678"),
        ("+49 30 123456 ext. 12", None, "+4930123456;ext=12"),
        ("+49 30 123456, Ext 012", None, "+4930123456;ext=012"),
        ("(030) 123456 x12", "DE", "+4930123456;ext=12"),
        ("tel:+49-30-123456;ext=12", None, "+4930123456;ext=12"),
        ("+4930123456;ext=12", None, "+4930123456;ext=12"),
        ("+52 1 55 1234 5678 #7", None, "+525512345678;ext=7"),
    ],
)
def test_old_national_forms_and_extensions_have_one_normal_form(given, region, stored):
    options = {} if region is None else {"region": region}
    assert PHONE(given, options) == stored
    assert PHONE(stored, options) == stored


@pytest.mark.parametrize("text", ["+49 30 123456 ext.", "ext. 12", "+49 30 123456;ext=1234567890", "+49 30 12 ext x"])
def test_an_extension_without_digits_or_number_is_refused(text):
    with pytest.raises(ValueProblem) as problem:
        PHONE(text, {})
    assert problem.value.code == "bad-format"


def test_an_extension_is_no_part_of_the_index_nor_of_the_views_that_show_digits():
    phone, number = TYPES["phone"], "+4930123456"
    extended = f"{number};ext=99"
    assert phone.index_text(extended) == phone.index_text(number)
    for view in ("masked", "last_4", "country", "calling_code"):
        assert show("phone", view, extended, date(2026, 3, 5)) == show("phone", view, number, date(2026, 3, 5))


@pytest.mark.parametrize("letter", ["a", "é", "\U00020000", "+"])
@pytest.mark.parametrize("domain", ["example.org", "EXAMPLE.org", "münchen.de"])
def test_the_part_before_the_at_sign_has_64_octets_at_most(letter, domain):
    size = len(letter.encode())
    assert EMAIL(f"{letter * (64 // size)}@{domain}", {}).partition("@")[0] == letter * (64 // size)
    for number in (64 // size + 1, 100 // size):
        with pytest.raises(ValueProblem) as caught:
            EMAIL(f"{letter * number}@{domain}", {})
        assert caught.value.code == "too-long"
        assert letter * 9 not in caught.value.detail


def test_a_domain_of_marks_is_not_folded():
    with pytest.raises(TooManyMarks):
        TYPES["email"].index_text("a@" + "\u0301\u0327" * 100 + ".org")
