"""Views of values: known answers, and properties that hold for all values."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from vault.catalogue.types import PARAMETERS, TYPES, ValueProblem, encode, show
from vault.catalogue.types.base import EVERY_TYPE
from vault.catalogue.types.text import MASK

TODAY = date(2026, 11, 22)
PARIS = {"street": "12 rue de la Paix", "postal_code": "75002", "city": "Paris", "country": "FR"}
BIDI = set("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
FAMILY = "👩\u200d👩\u200d👧"

TEXTS = st.text(min_size=1, max_size=30) | st.text(
    st.sampled_from("aZ9 -.é\u0301\u0308\u200d\u200e\u202e\u200bاא👩👧🏽🇫🇷क\u094dषМ•\ufe0f"), min_size=1, max_size=12
)


def normal(name, value):
    try:
        return TYPES[name].normalise(value, {})
    except ValueProblem:
        return assume(condition=False)


def test_every_type_has_the_views_that_all_types_have():
    for field_type in TYPES.values():
        assert {name: field_type.views[name] for name in EVERY_TYPE} == EVERY_TYPE


def test_every_view_is_described():
    descriptions = [view.description for kind in TYPES.values() for view in kind.views.values()]
    assert all(sentence and not sentence.endswith(".") for sentence in descriptions)


@pytest.mark.parametrize(
    ("name", "view"),
    [("text", "nothing"), ("text", "over_18"), ("text", "last_n"), ("text", "last_0"), ("text", "last_99"), ("date", "over_121"),
     ("boolean", "masked"), ("nothing", "masked"), ("text", ""), ("text", "masked\n")],
)  # fmt: skip
def test_a_view_that_the_type_lacks_is_refused(name, view):
    with pytest.raises(ValueError, match="no such view"):
        show(name, view, "x", TODAY)


SAMPLES = {
    "text": "Ada Lovelace", "email": "ada@example.org", "phone": "+33612345678", "date": "1990-07-14", "country": "FR",
    "address": PARIS, "language": "de-AT", "integer": 42, "decimal": "12.90", "money": {"amount": "12.90", "currency": "EUR"},
    "currency": "EUR", "boolean": False, "enumeration": "web", "iban": "DE89370400440532013000",
    "national_id": "295109912611193", "json": {"a": []},
}  # fmt: skip


@pytest.mark.parametrize(("name", "view"), [(name, view) for name, kind in TYPES.items() for view in kind.views])
def test_every_view_returns_json_and_does_not_change_the_value(name, view):
    before = encode(SAMPLES[name])
    shown = show(name, view.replace("_n", "_2") if view in PARAMETERS else view, SAMPLES[name], TODAY)
    assert encode(shown)
    assert encode(SAMPLES[name]) == before
    if view == "present":
        assert shown is True
    if view == "clear":
        assert shown == SAMPLES[name]


@pytest.mark.parametrize(
    ("name", "view", "value", "shown"),
    [
        ("text", "masked", "Ada", f"A{MASK}"),
        ("text", "masked", "Ada Lovelace, countess", f"A{MASK}"),
        ("text", "masked", "A", MASK),
        ("text", "masked", "A.", MASK),
        ("text", "masked", "é", MASK),
        ("text", "masked", "e\u0301\u0323", MASK),
        ("text", "masked", "e\u0323\u0301a", f"e\u0323\u0301{MASK}"),
        ("text", "masked", "中", MASK),
        ("text", "masked", "王芳", f"王{MASK}"),
        ("text", "masked", "מרים", f"מ{MASK}"),
        ("text", "masked", "\u200fמרים", f"מ{MASK}"),
        ("text", "masked", FAMILY, MASK),
        ("text", "masked", f"{FAMILY}Ada", f"{FAMILY}{MASK}"),
        ("text", "masked", "a" + "\u0301" * 5000, MASK),
        ("text", "masked", "!?", MASK),
        ("text", "first_letter", "'t Hooft", "t"),
        ("text", "first_letter", "A", "A"),
        ("text", "first_letter", "J\u030cana", "J\u030c"),
        ("text", "first_letter", "\u200e\u200fعلي", "ع"),
        ("text", "first_letter", "👍🏽 Ada", "👍🏽"),
        ("text", "first_letter", "🇫🇷🇩🇪", "🇫🇷"),
        ("text", "first_letter", "1\ufe0f\u20e3 x", "1\ufe0f\u20e3"),
        ("text", "first_letter", "क्षत्रिय", "क्ष"),
        ("text", "first_letter", "क्\u200dषत", "क्\u200dष"),
        ("text", "first_letter", "a\u200db\u200dc", "a"),
        ("text", "first_letter", "\u1100\u1161\u11a8x", "\u1100\u1161\u11a8"),
        ("text", "first_letter", "กำ", "กำ"),
        ("text", "first_letter", "\u0301a", "a"),
        ("text", "first_letter", "...", ""),
        ("text", "initials", "Ada Lovelace", "AL"),
        ("text", "initials", "Anne-Marie van der Berg", "AMvd"),
        ("text", "initials", "גולדה מאיר", "גמ"),
        ("text", "initials", "- ?", ""),
        ("text", "last_4", "4711-4712", "4712"),
        ("text", "last_4", "47-11-471", ""),
        ("text", "last_2", "zoe\u0308\u0323", ""),
        ("text", "last_2", "a zoe\u0308\u0323", "oe\u0308\u0323"),
        ("text", "last_1", "A", ""),
        ("text", "first_2", "75002", "75"),
        ("text", "first_3", "75002", ""),
        ("email", "masked", "ada@example.org", f"a{MASK}@example.org"),
        ("email", "masked", "a@example.org", f"{MASK}@example.org"),
        ("email", "masked", "@example.org", f"{MASK}@example.org"),
        ("email", "masked", "ada@localhost", f"a{MASK}@localhost"),
        ("email", "masked", "ada", MASK),
        ("email", "masked", "ada@", MASK),
        ("email", "domain", "ada@example.org", "example.org"),
        ("email", "domain", "@localhost", "localhost"),
        ("email", "domain", "ada", ""),
        ("phone", "masked", "+33612345678", f"{MASK}78"),
        ("phone", "country", "+33612345678", "FR"),
        ("phone", "country", "+16135550143", "CA"),
        ("phone", "country", "+80012345678", None),
        ("phone", "country", "+15550143", None),
        ("phone", "calling_code", "+33612345678", "+33"),
        ("phone", "calling_code", "+12025550143", "+1"),
        ("phone", "calling_code", "+390612345678", "+39"),
        ("phone", "last_4", "+33612345678", "5678"),
        ("phone", "last_5", "+33612345678", ""),
        ("phone", "last_4", "+2907123", ""),
        ("date", "year", "1990-07-14", 1990),
        ("date", "month", "1990-07-14", "1990-07"),
        ("date", "month_day", "1990-07-14", "07-14"),
        ("language", "base", "zh-Hant-TW", "zh"),
        ("language", "base", "de", "de"),
        ("address", "masked", PARIS, {"street": MASK, "postal_code": MASK, "city": MASK, "country": "FR"}),
        ("address", "masked", {"city": "X"}, {"street": MASK, "postal_code": MASK, "city": MASK, "country": None}),
        ("address", "city", PARIS, "Paris"),
        ("address", "city", {"street": "x"}, None),
        ("address", "region", PARIS, None),
        ("address", "country", PARIS, "FR"),
        ("address", "postal_code", PARIS, "75002"),
        ("address", "postal_area", PARIS, "75"),
        ("address", "postal_area", {"postal_code": "SW1A 1AA"}, "SW1"),
        ("address", "postal_area", {"postal_code": "1"}, None),
        ("address", "postal_area", {"city": "Paris"}, None),
        ("integer", "rounded", 1234, 1000),
        ("integer", "rounded", -1890, -2000),
        ("integer", "rounded", 0, 0),
        ("decimal", "rounded", "12.90", "10"),
        ("decimal", "rounded", "-0.40", "0"),
        ("decimal", "rounded", "0.60", "1"),
        ("decimal", "rounded", "99.00", "100"),
        ("decimal", "rounded", "999999999999999999.999999999999", "1000000000000000000"),
        ("money", "rounded", {"amount": "1234.50", "currency": "EUR"}, {"amount": "1000", "currency": "EUR"}),
        ("money", "currency", {"amount": "1234.50", "currency": "EUR"}, "EUR"),
        ("iban", "masked", "DE89370400440532013000", f"DE{MASK}3000"),
        ("iban", "country", "DE89370400440532013000", "DE"),
        ("iban", "last_4", "DE89370400440532013000", "3000"),
        ("iban", "last_6", "NO9386011117947", ""),
        ("national_id", "masked", "295109912611193", f"{MASK}93"),
        ("national_id", "masked", "131052-308T", f"{MASK}8T"),
        ("national_id", "last_4", "131052-308T", "308T"),
    ],
)  # fmt: skip
def test_views_show_known_answers(name, view, value, shown):
    assert show(name, view, value, TODAY) == shown


@pytest.mark.parametrize(
    ("born", "today", "age", "adult", "band"),
    [
        ("2008-11-22", "2026-11-21", 17, False, "0-17"),
        ("2008-11-22", "2026-11-22", 18, True, "18-29"),
        ("2008-02-29", "2026-02-28", 17, False, "0-17"),
        ("2008-02-29", "2026-03-01", 18, True, "18-29"),
        ("2004-02-29", "2024-02-28", 19, True, "18-29"),
        ("2004-02-29", "2024-02-29", 20, True, "18-29"),
        ("2006-03-01", "2024-02-29", 17, False, "0-17"),
        ("1996-11-23", "2026-11-22", 29, True, "18-29"),
        ("1996-11-22", "2026-11-22", 30, True, "30-39"),
        ("1937-11-22", "2026-11-22", 89, True, "80-89"),
        ("1936-11-22", "2026-11-22", 90, True, "90+"),
        ("1900-01-01", "2026-11-22", 126, True, "90+"),
        ("2026-11-22", "2026-11-22", 0, False, "0-17"),
        ("2026-11-23", "2026-11-22", None, False, None),
        ("9999-12-31", "2026-11-22", None, False, None),
    ],
)
def test_age_is_counted_in_completed_years(born, today, age, adult, band):
    day = date.fromisoformat(today)
    assert show("date", "age", born, day) == age
    assert show("date", "over_18", born, day) is adult
    assert show("date", "age_band", born, day) == band


@settings(max_examples=300, deadline=None)
@given(st.dates(), st.dates(), st.integers(1, 120))
def test_over_n_agrees_with_the_age_and_stays_true(born, today, number):
    value = born.isoformat()
    age = show("date", "age", value, today)
    over = show("date", f"over_{number}", value, today)
    assert over == (age is not None and age >= number)
    if today < date.max and over:
        assert show("date", f"over_{number}", value, date.fromordinal(today.toordinal() + 1))


@settings(max_examples=800, deadline=None)
@given(TEXTS)
@example("a")
@example("a\u200d")
@example("a" + "\u0301" * 40 + "b")
def test_no_view_of_a_text_shows_all_of_it_or_changes_text_direction(raw):
    value = normal("text", raw)
    assume(set(value) - set(MASK))
    masked = show("text", "masked", value, TODAY)
    assert value not in masked
    assert masked.endswith(MASK)
    for number in (1, 2, 4, 16):
        for view in (f"last_{number}", f"first_{number}"):
            shown = show("text", view, value, TODAY)
            assert 2 * len(shown) <= len(value) or len(shown) < len(value)
            assert not shown or value != shown
    for view in ("masked", "first_letter", "initials", "last_2", "first_2"):
        shown = show("text", view, value, TODAY)
        assert not BIDI & set(shown)
        assert not shown or not unicodedata.category(shown[0]).startswith("M")
        shown.encode()


@settings(max_examples=300, deadline=None)
@given(st.text("abc1", min_size=1, max_size=40))
def test_hidden_part_is_at_least_as_long_as_the_shown_part(value):
    for number in (1, 2, 4, 8):
        shown = show("text", f"last_{number}", value, TODAY)
        assert shown == (value[-number:] if len(value) >= 2 * number else "")


@settings(max_examples=300, deadline=None)
@given(
    st.from_regex(r"[a-z0-9]([a-z0-9._+-]{0,20}[a-z0-9])?", fullmatch=True),
    st.sampled_from(["example.org", "a-b.co.uk"]),
)
def test_masked_addresses_show_one_letter_and_domains_none(local, domain):
    value = normal("email", f"{local}@{domain}")
    masked = show("email", "masked", value, TODAY)
    assert value not in masked
    assert masked.partition("@")[0].removesuffix(MASK) in {"", local[0]}
    assert len(masked) in {len(f"{MASK}@{domain}"), len(f"{MASK}@{domain}") + 1}
    assert show("email", "domain", value, TODAY) == domain


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_no_view_of_a_phone_shows_more_than_half_of_its_national_number(value):
    code = show("phone", "calling_code", value, TODAY)
    for number in range(1, 17):
        shown = show("phone", f"last_{number}", value, TODAY)
        assert shown in {"", value[-number:]}
        assert 2 * len(shown) <= len(value) - len(code)
    assert len(show("phone", "masked", value, TODAY)) <= len(MASK) + 2
    country = show("phone", "country", value, TODAY)
    assert country is None or (len(country) == 2 and country.isalpha())


@settings(max_examples=300, deadline=None)
@given(st.decimals(min_value=-(10**17), max_value=10**17, places=4))
def test_rounded_has_one_significant_digit(number):
    shown = show("decimal", "rounded", normal("decimal", format(number, "f")), TODAY)
    assert len(shown.lstrip("-").rstrip("0")) <= 1
    assert shown != "-0"


def test_a_mask_does_not_reveal_the_length():
    lengths = {len(show("text", "masked", "a" * length, TODAY)) for length in (2, 5, 100, 10_000)}
    assert lengths == {len(MASK) + 1}
