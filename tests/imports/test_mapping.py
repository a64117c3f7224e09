"""Mappings: parsing, validation, and the values that they take from lines."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from vault.catalogue.types import ValueProblem
from vault.errors import InvalidInput
from vault.imports.completejourney import MAPPINGS
from vault.imports.lines import build_getter, build_time_getter, columns_of
from vault.imports.mapping import Cell, format_of, parse_mapping, read_mapping
from vault.imports.task import declared_fields
from vault.policy.policy_set import PolicySet

LEAST = 'purpose = "order-fulfilment"\n[external_ids]\nshop = "no"\n'


def value(given, row, missing=()):
    return build_getter(given, lambda name: lambda row: row.get(name), frozenset(missing))(row)


@pytest.mark.parametrize(
    ("given", "row", "wanted"),
    [
        ("a", {"a": "x"}, "x"),
        ("a", {"a": ""}, None),
        ("a", {"a": "  "}, None),
        ("a", {}, None),
        ("a", {"a": 0}, 0),
        ("a", {"a": False}, False),
        ("a", {"a": date(2026, 1, 2)}, "2026-01-02"),
        ("a", {"a": datetime(2026, 1, 2)}, "2026-01-02"),  # noqa: DTZ001 - as files have them
        ("a", {"a": datetime(2026, 1, 2, 3)}, "2026-01-02T03:00:00"),  # noqa: DTZ001 - as files have them
        ("a", {"a": Decimal("1E+2")}, "100"),
        (Cell(constant="DE"), {}, "DE"),
        (Cell(template="{a} {b}"), {"a": "x", "b": 2}, "x 2"),
        (Cell(template="{a} {b}"), {"a": "x"}, None),
        (Cell(template="{{{a}}}"), {"a": "x"}, "{x}"),
        (Cell(object={"city": "c", "country": Cell(constant="DE")}), {"c": "Bonn"}, {"city": "Bonn", "country": "DE"}),
        (Cell(object={"city": "c", "country": Cell(constant="DE")}), {}, None),
        (Cell(column="a", values={"m": "male"}), {"a": "m"}, "male"),
        (Cell(column="a", values={"1": True}), {"a": 1}, True),
        (Cell(column="a", values={"m": "male"}, otherwise="keep"), {"a": "x"}, "x"),
        (Cell(column="a", values={"m": "male"}, otherwise="leave-out"), {"a": "x"}, None),
        (Cell(column="a", date_format="%d.%m.%Y"), {"a": "14.07.1990"}, "1990-07-14"),
        (Cell(column="a", decimal_comma=True), {"a": "1.234,50"}, "1234.50"),
    ],
)
def test_cells_get_their_values_from_rows(given, row, wanted):
    result = value(given, row)
    assert result == wanted
    assert type(result) is type(wanted)


def test_missing_values_become_none():
    assert value("a", {"a": "n/a"}, ["n/a"]) is None


@pytest.mark.parametrize(
    ("given", "code"),
    [(Cell(column="a", values={"m": "male"}), "unmapped-value"), (Cell(column="a", date_format="%Y"), "bad-format")],
)
def test_an_unmapped_value_is_refused_and_not_echoed(given, code):
    with pytest.raises(ValueProblem) as problem:
        value(given, {"a": "secret"})
    assert problem.value.code == code
    assert "secret" not in problem.value.detail
    assert problem.value.__context__ is None


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("2026-07-15T12:00:00", datetime(2026, 7, 15, 10, tzinfo=UTC)),
        ("2026-07-15T12:00:00Z", datetime(2026, 7, 15, 12, tzinfo=UTC)),
        ("2026-01-15", datetime(2026, 1, 14, 23, tzinfo=UTC)),
        (datetime(2026, 1, 15, 1), datetime(2026, 1, 15, tzinfo=UTC)),  # noqa: DTZ001 - as files have them
    ],
)
def test_times_without_a_zone_are_in_the_zone_of_the_mapping(raw, wanted):
    text = '[record]\nexternal_id = "x"\noccurred_at = "at"\ntime_zone = "Europe/Berlin"\n'
    text = f'collection = "purchase"\n[subject]\nsystem = "shop"\nid = "no"\n[fields]\namount = "a"\n{text}'
    record = parse_mapping(text).record
    get = build_time_getter(record.occurred_at, record.time_zone, lambda name: lambda row: row[name], frozenset())
    assert get({"at": raw}) == wanted


def test_the_columns_of_every_kind_of_cell_are_found():
    given = Cell(object={"a": "one", "b": Cell(template="{two}-{three}"), "c": Cell(constant=1)})
    assert columns_of(given) == {"one", "two", "three"}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("purpose = ", "/"),
        (LEAST + 'colour = "red"', "/external_ids"),
        (LEAST.replace("shop", '"Shop 1"'), "/external_ids"),
        ('[fields]\nname = "n"', "/external_ids"),
        (LEAST + "[fields]\nname = {}", "/fields/name"),
        (LEAST + '[fields]\nname = { column = "a", constant = "b" }', "/fields/name"),
        (LEAST + '[fields]\nname = { template = "{" }', "/fields/name"),
        (LEAST + '[fields]\nname = { template = "{a!r}" }', "/fields/name"),
        (LEAST + '[fields]\nname = { template = "{a[0]}" }', "/fields/name"),
        (LEAST + '[fields]\nname = { template = "plain" }', "/fields/name"),
        (LEAST + '[fields]\nname = { column = "a", otherwise = "keep" }', "/fields/name"),
        (LEAST + "[fields]\naddress = { object = { city = {} } }", "/fields/address/city"),
        (LEAST + '[file]\ndelimiter = "::"', "/file/delimiter"),
        (LEAST + '[file]\nencoding = "utf-16"', "/file/encoding"),
        (LEAST + '[file]\nencoding = "no-such"', "/file/encoding"),
        ('collection = "purchase"\n[fields]\namount = "a"', "/subject"),
        ('collection = "purchase"\n[subject]\nsystem = "s"\nid = "n"\n[fields]\namount = "a"', "/record"),
        (LEAST + '[subject]\nsystem = "s"\nid = "n"', "/collection"),
    ],
)
def test_inconsistencies_of_a_mapping_are_reported_with_their_path(text, at):
    if at == "/external_ids" and "colour" in text:
        text = text.replace("colour", '"Colour Red"')
    with pytest.raises(InvalidInput) as error:
        parse_mapping(text)
    assert error.value.code == "mapping-invalid"
    assert at in {fault.at for fault in error.value.faults}


def test_an_unknown_key_is_refused():
    with pytest.raises(InvalidInput):
        parse_mapping('purpoze = "x"\n' + LEAST)


@pytest.mark.parametrize(
    ("name", "form"), [("a.csv", "csv"), ("a.TSV", "csv"), ("a.ndjson", "jsonl"), ("a.parquet", "parquet")]
)
def test_the_format_follows_from_the_suffix(name, form):
    assert format_of(parse_mapping(LEAST), Path(name)) == form


def test_a_file_of_unknown_format_is_refused():
    with pytest.raises(InvalidInput) as error:
        format_of(parse_mapping(LEAST), Path("a.xlsx"))
    assert error.value.code == "unknown-format"


@pytest.mark.parametrize("path", sorted(MAPPINGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_mappings_fit_the_shipped_policies(path):
    mapping = read_mapping(path)
    policies = PolicySet.from_folder(Path(__file__).parents[2] / "policies")
    assert set(mapping.fields) <= set(declared_fields(policies.catalogue, mapping))
    assert mapping.purpose in policies.purposes
