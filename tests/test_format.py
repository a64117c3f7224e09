"""``docs/format.md`` is held against the code: each table of the schema and each member of what is packed is described.

A new table or column fails here until the page has it; the message is the row to add.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import vault
from tests.test_docs import _sections
from vault.catalogue.translations import WORDS
from vault.catalogue.types.base import ValueProblem
from vault.catalogue.types.text import line_of
from vault.consent.model import ConsentState, Held, PurposeState
from vault.policy.policy_set import FILES, NOTICES, OPTIONAL
from vault.storage.columns import DataTable, KeyTable, LedgerTable
from vault.subjects.rows import Sealed, _Shared

for module in pkgutil.walk_packages(vault.__path__, "vault."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

PAGE = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
SECTIONS = _sections(PAGE)
ROW = re.compile(r"^\| `(\w+)` \| ((?:\*\*\w+\*\*(?:, )?)+(?:\w+(?:, )?)*) \|$", re.MULTILINE)
TABLES = {table.name: table for base in (DataTable, KeyTable, LedgerTable) for table in base.metadata.tables.values()}


def _row(table):
    key = [f"**{column.name}**" for column in table.primary_key]
    return f"| `{table.name}` | {', '.join(key + [each.name for each in table.columns if not each.primary_key])} |"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_page_describes_every_column_of_every_table(name):
    assert _row(TABLES[name]) in PAGE.splitlines()


def test_the_page_describes_no_other_table():
    assert sorted(name for name, _columns in ROW.findall(PAGE)) == sorted(TABLES)


def _places(section, number):
    """Return the second cells of one of the tables of places that a section has."""
    table = re.split(r"^\| place \|.*$", SECTIONS[section], flags=re.MULTILINE)[number + 1]
    rows = re.findall(r"^\| (\d+) \| `(\w+)`", table.partition("\n\n")[0], re.MULTILINE)
    assert [int(place) for place, _name in rows] == list(range(len(rows)))
    return [name for _place, name in rows]


@pytest.mark.parametrize(
    ("section", "number", "packed"),
    [
        ("A record's body", 0, Sealed),
        ("A record's body", 1, _Shared),
        ("The state of a person", 0, ConsentState),
        ("The state of a person", 1, PurposeState),
        ("The state of a person", 2, Held),
    ],
    ids=["body", "origins", "standing", "purpose", "hold"],
)
def test_the_page_describes_every_member_of_what_is_packed(section, number, packed):
    assert _places(section, number) == list(packed.__struct_fields__)


def test_the_page_names_every_file_of_the_version_of_policies():
    text = SECTIONS["Policy version"]
    named = set(re.findall(r"`([a-z*/.]+\.(?:toml|conf|csv|md))`", text))
    patterns = {"notices/*.md": NOTICES, "words.*.toml": WORDS}
    assert named == {*FILES, *OPTIONAL, *patterns}
    for glob, pattern in patterns.items():
        assert pattern.fullmatch(glob.replace("*", "de"))


def test_the_page_names_every_character_that_a_text_loses():
    listed = re.search(r"loses (.+?) wherever", SECTIONS["Blind indexes"], re.DOTALL)
    ranges = re.findall(r"U\+([0-9A-F]{4})(?: to U\+([0-9A-F]{4}))?", listed[1])
    lost = {chr(code) for first, last in ranges for code in range(int(first, 16), int(last or first, 16) + 1)}
    assert lost == {chr(code) for code in range(0x110000) if _is_lost(chr(code))}


def _is_lost(letter):
    try:
        return line_of(f"a{letter}b", 10, multiline=True) == "ab"
    except ValueProblem:  # it is refused
        return False
