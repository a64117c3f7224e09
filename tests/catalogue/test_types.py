"""Properties of all types: normalising is total and idempotent, errors do not repeat values, options are checked."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vault.catalogue.types import PARAMETERS, TYPES, ValueProblem, decode, encode, index_text, is_one_of, parameter
from vault.catalogue.types.identifiers import NATIONAL_IDS

OPTIONS = {
    "text": [{}, {"max_length": 5}, {"multiline": True}],
    "phone": [{}, {"region": "FR"}, {"region": "US"}],
    "date": [{}, {"earliest": "1900-01-01", "latest": "2100-12-31"}],
    "address": [{}, {"country": "DE"}],
    "integer": [{}, {"min": 0, "max": 120}],
    "decimal": [{}, {"scale": 2}, {"scale": 0, "min": 0, "max": "99.5"}],
    "money": [{}, {"currency": "JPY"}],
    "enumeration": [{"values": ["Web", "phone", "PHONE", "Straße"]}],
    "national_id": [{}, *({"country": country} for country in NATIONAL_IDS)],
    "json": [{}, {"max_bytes": 60, "max_depth": 2}],
}
CASES = [(name, options) for name in TYPES for options in OPTIONS.get(name, [{}])]

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
PLAUSIBLE = st.sampled_from([
    "Ada Lovelace", "ada@example.org", "Ada@EXAMPLE.org", '"a b"@example.org', "zoë@münchen.de", "info@x.org",
    "+33612345678", "06 12 34 56 78", "tel:+1-202-555-0143", "0033 6 12 34 56 78", "1990-07-14", "2024-02-29", "2023-02-29",
    "0000-01-01", "FR", "usa", "Germany", "de_at", "zh-hant-tw", "sl-rozaj-biske", "x-private", "42", "-0", "007", "12.90",
    "-0.00", "1e400", "9" * 70, "12.9 eur", "EUR 1.005", "¥ 5", "true", "NO", "web", "Phone", "STRASSE", "DE89370400440532013000",
    "GB33BUKB20201555555555", "850101-1234", "131052-308T", "295109912611193", "078-05-1120", "52998224725", "٣٤٥", "１２",
])  # fmt: skip
MUTATED = st.builds(lambda text, at, piece: text[: at % (len(text) + 1)] + piece + text[at % (len(text) + 1) :],
                    PLAUSIBLE, st.integers(0, 80), st.text(st.characters(exclude_categories=()), max_size=2))  # fmt: skip
DIGITS = st.text("0123456789+-. ABCXYZ/", max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | MUTATED | DIGITS
SHAPED = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("street", "line2", "postal_code", "city", "region", "country", "amount", "currency"), SCALARS
    ),
)
JSON = SHAPED | st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4), max_leaves=12
)


def outcome(name, value, options):
    try:
        return TYPES[name].normalise(value, options)
    except ValueProblem as problem:
        return problem


@pytest.mark.parametrize(("name", "options"), CASES)
@settings(max_examples=150, deadline=None)
@given(value=JSON)
@example(value=10**5000)
@example(value=float("nan"))
@example(value=float("-inf"))
@example(value=1e308)
@example(value=5e-324)
@example(value="\ud800")
@example(value="\x00")
@example(value="a" * 1_000_000)
@example(value="e\u0301" * 100)
@example(value={"city": {"deep": 1}})
@example(value={"amount": {}, "currency": []})
@example(value=[{"a\u030a": 1, "\u00e5": 2}])
def test_normalising_is_total_and_idempotent_and_survives_encoding(name, options, value):
    normalised = outcome(name, value, options)
    if isinstance(normalised, ValueProblem):
        assert normalised.code
        assert normalised.detail
        assert normalised.__context__ is None, "a chained error may repeat the value"
        return
    assert normalised is not None
    assert TYPES[name].normalise(normalised, options) == normalised
    written = encode(normalised)
    assert len(written) < 500_000
    assert decode(written + b"   ") == normalised
    assert json.loads(written) == normalised
    assert encode(TYPES[name].normalise(decode(written), options)) == written


@pytest.mark.parametrize(("name", "options"), CASES)
def test_no_error_repeats_the_value(name, options):
    canary = "Qx7canary"
    shapes = [
        canary, canary * 3000, f"{canary}@", f"{canary}@x", f"a@{canary}.test", f"{canary}\x00", f"+{canary}", f"{canary}-01-01",
        {canary: canary}, {"street": {canary: 1}}, {"city": f"{canary}\n"}, {"country": canary}, {"amount": canary},
        {"amount": "1", "currency": canary}, f"1 {canary}", [canary, {canary: float("nan")}], f"DE89 {canary}",
    ]  # fmt: skip
    for value in shapes:
        result = outcome(name, value, options)
        if isinstance(result, ValueProblem):
            assert canary.casefold() not in f"{result}{result.code}{result.detail}{result!r}".casefold()


@pytest.mark.parametrize("value", ["", "   ", "\u200b\u200d", "\u0301", "\u3164", None])
@pytest.mark.parametrize("name", [name for name in TYPES if name != "json"])
def test_null_is_not_a_value(name, value):
    with pytest.raises(ValueProblem):
        TYPES[name].normalise(value, OPTIONS.get(name, [{}])[0])


def test_every_type_has_the_clear_view_and_present():
    for field_type in TYPES.values():
        assert is_one_of("clear", field_type.views)
        assert is_one_of("present", field_type.views)


def test_views_with_a_number_have_a_number_in_range():
    date, text = TYPES["date"], TYPES["text"]
    assert (
        [n for n in range(200) if is_one_of(f"over_{n}", date.views)]
        == list(PARAMETERS["over_n"])
        == list(range(1, 121))
    )
    assert is_one_of("last_4", text.views)
    assert is_one_of("first_3", text.views)
    wrong = ["over_n", "last_n", "over_018", "over_-1", "over_", "over_1 ", "over_١", "last_17", "last_0", "OVER_18"]
    assert not [name for name in wrong if is_one_of(name, date.views) or is_one_of(name, text.views)]
    assert not is_one_of("over_18", text.views)
    assert parameter("last_4") == ("last_n", 4)
    assert parameter("masked") == ("masked", 0)


def test_types_with_few_values_have_no_index():
    few = {
        "boolean",
        "enumeration",
        "country",
        "language",
        "currency",
        "integer",
        "decimal",
        "money",
        "json",
        "address",
    }
    assert {name for name, field_type in TYPES.items() if not field_type.indexes} == few
    assert all(field_type.indexes <= {"exact", "prefix", "last_n"} for field_type in TYPES.values())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_valid_options_pass(name, options):
    assert TYPES[name].check_options(options) == []


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("email", {"max_length": 5}, "no option 'max_length'"),
        ("text", {"max_length": 0}, "whole number from 1"),
        ("text", {"max_length": True}, "whole number from 1"),
        ("text", {"multiline": "yes"}, "true or false"),
        ("phone", {"region": "fr"}, "ISO 3166-1"),
        ("date", {"earliest": "2020-13-01"}, "YYYY-MM-DD"),
        ("date", {"earliest": "2021-01-01", "latest": "2020-01-01"}, "must not be after"),
        ("enumeration", {}, "needs the option 'values'"),
        ("enumeration", {"values": []}, "1 to 1000"),
        ("enumeration", {"values": ["a", "a"]}, "different"),
        ("enumeration", {"values": [" a"]}, "one line"),
        ("national_id", {"country": "XX"}, "countries whose numbers are known"),
        ("decimal", {"min": 1.5}, "in quotes"),
        ("decimal", {"min": "2", "max": 1}, "must not be above"),
        ("integer", {"min": 2, "max": 1}, "must not be above"),
        ("money", {"currency": "EURO"}, "ISO 4217"),
        ("address", {"country": "Germany"}, "alpha-2"),
        ("json", {"max_depth": 1000}, "from 0 to 32"),
    ],
)
def test_wrong_options_are_reported_in_a_sentence(name, options, words):
    faults = TYPES[name].check_options(options)
    assert len(faults) == 1
    assert words in faults[0]


def test_equal_values_have_equal_bytes():
    assert encode({"b": "ü", "a": [1, 2.5, None, True]}) == '{"a":[1,2.5,null,true],"b":"ü"}'.encode()
    assert encode({"a": 1, "b": {"d": 1, "c": 2}}) == encode({"b": {"c": 2, "d": 1}, "a": 1})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("email", "Ada.Lovelace@Example.org", "ada.lovelace@example.org"),
        ("email", "Ada", "ada"),
        ("email", "Ada@FAẞ.DE", "ada@faß.de"),
        ("email", "ada@fass.de", "ada@fass.de"),
        ("email", "STRAẞE@bÜcher.example", "straße@bücher.example"),
        ("email", "strasse@Bu\u0308cher.example", "strasse@bücher.example"),
        ("email", "ﬁna@example.org", "ﬁna@example.org"),
        ("email", "ada@fa", "ada@fa"),
        ("email", "ada@FAẞ", "ada@faß"),
        ("text", "Straße  Größe", "strasse grösse"),
        ("text", "ＡＤＡ\u00a0Lovelace", "ada lovelace"),
        ("text", "a\u200fb", "ab"),
        ("phone", "+33612345678", "33612345678"),
        ("phone", "+33 6", "336"),
        ("phone", "56-78", "5678"),
        ("iban", "de89 3704", "DE893704"),
        ("national_id", "131052-308t", "131052308T"),
        ("date", "1990-07-14", "1990-07-14"),
    ],
)
def test_index_text_is_folded(name, value, text):
    assert index_text(name, value) == text


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.integers(2, 30))
def test_the_folded_beginning_of_a_stored_address_is_the_beginning_of_the_folded_address(local, domain, size):
    """So that a search by a beginning finds it, and folding twice is folding once."""
    try:
        stored = TYPES["email"].normalise(f"{local}@{domain}.de", {})
    except ValueProblem:
        return
    folded = index_text("email", stored)
    assert index_text("email", folded) == folded
    assert index_text("email", folded[:size]) == folded[:size]


@pytest.mark.parametrize("name", [name for name, field_type in TYPES.items() if not field_type.indexes])
def test_types_without_index_have_no_index_text(name):
    with pytest.raises(ValueError, match="not indexed"):
        index_text(name, "x")


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=30))
def test_index_text_ignores_case_and_is_idempotent(text):
    folded = index_text("text", text)
    assert index_text("text", folded) == folded
    assert index_text("text", f"  {text}\n") == folded
