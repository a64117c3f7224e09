"""Known answers of the types other than contacts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.catalogue.types import TYPES, ValueProblem, numeric


def normalised(name, value, options):
    return TYPES[name].normalise(value, options)


@pytest.mark.parametrize(
    ("name", "value", "options", "stored"),
    [
        ("text", "  Zoe\u0308 ", {}, "Zoë"),
        ("text", "Ada\u202eevil\u202c", {}, "Adaevil"),
        ("text", "می\u200cخواهم", {}, "می\u200cخواهم"),
        ("text", "👩\u200d👧", {}, "👩\u200d👧"),
        ("text", "a\r\nb\tc\u2028d\n", {"multiline": True}, "a\nb\tc\nd"),
        ("date", " 2024-02-29 ", {}, "2024-02-29"),
        ("country", "fr", {}, "FR"),
        ("country", "FRA", {}, "FR"),
        ("country", "germany", {}, "DE"),
        ("country", "UK", {}, "GB"),
        ("country", "xk", {}, "XK"),
        ("language", "DE_at", {}, "de-AT"),
        ("language", "deu", {}, "de"),
        ("language", "ger", {}, "de"),
        ("language", "ZH-hANT-tw", {}, "zh-Hant-TW"),
        ("language", "es-419", {}, "es-419"),
        ("language", "sl-ROZAJ", {}, "sl-rozaj"),
        ("integer", 42, {}, 42),
        ("integer", " -7 ", {}, -7),
        ("integer", 5.0, {}, 5),
        ("integer", "007", {}, 7),
        ("decimal", "12.90", {}, "12.90"),
        ("decimal", "+0012.9", {"scale": 2}, "12.90"),
        ("decimal", "12.9000", {"scale": 2}, "12.90"),
        ("decimal", 12.9, {"scale": 2}, "12.90"),
        ("decimal", 1e-7, {}, "0.0000001"),
        ("decimal", 12, {}, "12"),
        ("decimal", "-0.00", {}, "0.00"),
        ("decimal", 1e15, {"scale": 0}, "1000000000000000"),
        ("money", {"amount": "12.9", "currency": "eur"}, {}, {"amount": "12.90", "currency": "EUR"}),
        ("money", "12.90 EUR", {}, {"amount": "12.90", "currency": "EUR"}),
        ("money", "EUR12.9", {}, {"amount": "12.90", "currency": "EUR"}),
        ("money", "500", {"currency": "JPY"}, {"amount": "500", "currency": "JPY"}),
        ("money", 1.7990, {"currency": "EUR"}, {"amount": "1.799", "currency": "EUR"}),
        ("money", {"amount": "1", "currency": None}, {"currency": "KWD"}, {"amount": "1.000", "currency": "KWD"}),
        ("currency", " eur", {}, "EUR"),
        ("boolean", True, {}, True),
        ("boolean", "No", {}, False),
        ("enumeration", "WEB", {"values": ["web", "phone"]}, "web"),
        ("enumeration", "A", {"values": ["a", "A"]}, "A"),
        ("iban", "de89 3704 0044 0532 0130 00", {}, "DE89370400440532013000"),
        ("iban", "BE68 5390 0754 7034", {}, "BE68539007547034"),  # the registry's example, of a bank on no list
        ("iban", "ES91 2100 0418 4502 0005 1332", {}, "ES9121000418450200051332"),
        ("iban", "GB33 BUKB 2020 1555 5555 55", {}, "GB33BUKB20201555555555"),
        ("national_id", "2 95 10 99 126 111 93", {"country": "FR"}, "295109912611193"),
        ("national_id", "131052-308t", {"country": "FI"}, "131052-308T"),
        ("national_id", "529.982.247-25", {"country": "BR"}, "52998224725"),
        ("national_id", "ab 12-34", {}, "AB12-34"),
        ("json", {"b": [1, 2.0, "e\u0301"], "a": None}, {}, {"b": [1, 2, "é"], "a": None}),
        ("json", -0.0, {}, 0),
        ("json", [], {}, []),
        ("address", {"street": " 12 rue de la Paix ", "postal_code": "75002", "city": "Paris", "country": "france", "region": ""},
         {}, {"street": "12 rue de la Paix", "postal_code": "75002", "city": "Paris", "country": "FR"}),
        ("address", {"postal_code": "sw1a  1aa"}, {"country": "GB"}, {"postal_code": "SW1A 1AA", "country": "GB"}),
    ],
)  # fmt: skip
def test_values_are_normalised(name, value, options, stored):
    result = normalised(name, value, options)
    assert result == stored
    assert type(result) is type(stored)


@pytest.mark.parametrize(
    ("name", "value", "options", "code"),
    [
        ("text", 5, {}, "wrong-type"),
        ("text", "a\x00b", {}, "bad-character"),
        ("text", "a\x1bb", {"multiline": True}, "bad-character"),
        ("text", "a\nb", {}, "bad-character"),
        ("text", "a\ud800", {}, "bad-character"),
        ("text", "a\ufffe", {}, "bad-character"),
        ("text", "abcdef", {"max_length": 5}, "too-long"),
        ("text", "a" * 10_001, {}, "too-long"),
        ("text", "\u200b \u200d", {}, "empty"),
        ("date", "20240229", {}, "bad-format"),
        ("date", "2024-W01-1", {}, "bad-format"),
        ("date", "2023-02-29", {}, "bad-format"),
        ("date", "２０２４-01-01", {}, "bad-format"),
        ("date", 20240101, {}, "wrong-type"),
        ("date", "1899-12-31", {"earliest": "1900-01-01"}, "out-of-range"),
        ("country", "Atlantis", {}, "unknown-code"),
        ("language", "xq", {}, "unknown-code"),
        ("language", "de-AT-u-co-phonebk", {}, "bad-format"),
        ("language", "de-ZZ", {}, "unknown-code"),
        ("integer", True, {}, "wrong-type"),
        ("integer", 1.5, {}, "wrong-type"),
        ("integer", 2**53, {}, "out-of-range"),
        ("integer", -1, {"min": 0}, "out-of-range"),
        ("decimal", "1e3", {}, "bad-format"),
        ("decimal", "1,5", {}, "bad-format"),
        ("decimal", "1_000", {}, "bad-format"),
        ("decimal", "٣", {}, "bad-format"),
        ("decimal", "1.005", {"scale": 2}, "too-precise"),
        ("decimal", 5e-324, {}, "too-precise"),
        ("decimal", "1" * 19, {}, "out-of-range"),
        ("decimal", "100", {"max": "99.5"}, "out-of-range"),
        ("decimal", float("inf"), {}, "out-of-range"),
        ("money", "12.90", {}, "missing-part"),
        ("money", {"currency": "EUR"}, {}, "missing-part"),
        ("money", {"amount": "1", "currency": "USD"}, {"currency": "EUR"}, "out-of-range"),
        ("money", {"amount": "1", "currency": "EUR", "vat": "0"}, {}, "unknown-part"),
        ("money", "EUR 1 EUR", {}, "bad-format"),
        ("boolean", 1, {}, "wrong-type"),
        ("boolean", "maybe", {}, "wrong-type"),
        ("enumeration", "fax", {"values": ["web"]}, "unknown-code"),
        ("enumeration", "pHone", {"values": ["phone", "PHONE"]}, "unknown-code"),
        ("iban", "DE89370400440532013001", {}, "bad-format"),
        ("iban", "BE6853900754703", {}, "bad-format"),
        ("iban", "BE69539007547034", {}, "bad-format"),
        ("iban", "DE8937040044053201300", {}, "bad-format"),
        ("date", "2045-03-12", {"latest": "2045-03-11"}, "out-of-range"),
        ("iban", "XX89370400440532013000", {}, "bad-format"),
        ("national_id", "295109912611194", {"country": "FR"}, "bad-format"),
        ("national_id", "abcd", {}, "bad-format"),
        ("json", None, {}, "wrong-type"),
        ("json", [[[]]], {"max_depth": 2}, "too-deep"),
        ("json", "a" * 100, {"max_bytes": 50}, "too-long"),
        ("json", {"a\u030a": 1, "\u00e5": 2}, {}, "ambiguous"),
        ("json", ["\x00"], {}, "bad-character"),
        ("json", [2**53], {}, "out-of-range"),
        ("address", "Paris", {}, "wrong-type"),
        ("address", {"country": "FR"}, {}, "missing-part"),
        ("address", {"city": "Paris", "planet": "Earth"}, {}, "unknown-part"),
        ("address", {"city": "Paris", "country": "Atlantis"}, {}, "unknown-code"),
        ("address", {"city": "Paris", "postal_code": "7500é"}, {}, "bad-format"),
        ("address", {"city": 5}, {}, "wrong-type"),
    ],
)
def test_invalid_values_are_refused_with_their_code(name, value, options, code):
    with pytest.raises(ValueProblem) as caught:
        normalised(name, value, options)
    assert caught.value.code == code


def test_too_deep_json_is_refused_without_recursion_error():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueProblem):
        normalised("json", value, {})
    while value:
        value = value.pop()


@settings(max_examples=300, deadline=None)
@given(st.decimals(min_value=-(10**17), max_value=10**17, places=6))
def test_decimals_keep_their_number(number):
    from decimal import Decimal

    assert Decimal(normalised("decimal", format(number, "f"), {})) == number


def test_every_currency_has_its_minor_unit():
    units = numeric.currencies()
    assert units["EUR"] == 2
    assert units["JPY"] == 0
    assert units["TND"] == 3
    assert set(" ".join(numeric._MINOR_UNITS.values()).split()) <= set(units)
