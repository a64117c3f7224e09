"""The workbook of a package: every value as it is, as text, and nothing that a spreadsheet executes."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
import zipfile
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.customer import buy, files_of, somebody
from tests.export.test_contents_csv import FORMULAS, INSIDE
from vault.export import sheets
from vault.export.formulas import unescape_formula
from vault.export.sheets import Table, column_letters, sheet_title, write_workbook

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
KEPT = [
    "01067",
    "123456789012345678",
    "4.711E+03",
    "1-2",
    "TRUE",
    "=1+1",
    "+49 351 1",
    " a ",
    "a\r\nb\tc",
    "<b>&amp;\"'",
]
"""What spreadsheets change if they take it for anything but text, and what XML would."""
ODD = ["\x00", "a\x1bb", "_x0041_", "_x005F_x0041_", "\ufffe", "\ud800", "\U0001f600", "]]>"]


async def _rows(rows):
    for row in rows:
        yield row


async def _pieces(tables):
    return [piece async for piece in write_workbook(tables)]


async def _workbook(*tables):
    """Write a workbook; returns its sheets by title, each as a list of rows by column."""
    made = [Table(title, columns, _rows(rows)) for title, columns, rows in tables]
    return read_workbook(b"".join(await _pieces(made)))


def read_workbook(data):
    """Read the sheets of a workbook by the standard alone."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        parts = {name: ET.fromstring(opened.read(name)) for name in opened.namelist()}  # noqa: S314 - our own file
    targets = {item.get("Id"): item.get("Target") for item in parts["xl/_rels/workbook.xml.rels"]}
    listed = parts["xl/workbook.xml"].iter(f"{MAIN}sheet")
    return {item.get("name"): _sheet(parts[f"xl/{targets[item.get(RELATION)]}"]) for item in listed}


def _sheet(root):
    rows = []
    for number, row in enumerate(root.iter(f"{MAIN}row"), 1):
        assert row.get("r") == str(number)
        cells = {}
        for cell in row:
            assert (cell.get("t"), [item.tag for item in cell]) == ("inlineStr", [f"{MAIN}is"]), "texts only"
            (text,) = cell[0]
            cells[re.fullmatch(rf"([A-Z]+){number}", cell.get("r"))[1]] = _unescape(text.text or "")
        rows.append(cells)
    assert {item.tag for item in root.iter()}.isdisjoint({f"{MAIN}f", f"{MAIN}v", f"{MAIN}hyperlink"})
    return rows


def _unescape(text):
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text)


@pytest.mark.parametrize("value", [*KEPT, *ODD, *FORMULAS, *INSIDE])
async def test_a_value_is_a_text_and_not_changed(value):
    assert await _workbook(("T", ("a",), [(value,)])) == {"T": [{"A": "a"}, {"A": value}]}


@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=4))
@settings(max_examples=100)
async def test_any_text_is_read_back(rows):
    read = await _workbook(("T", ("a", "b"), rows))
    assert [[row.get("A", ""), row.get("B", "")] for row in read["T"][1:]] == rows


@pytest.mark.parametrize(("character", "units"), [("x", 1), ("\U0001f600", 2), ("=", 1), ("\x00", 1)])
async def test_a_text_that_is_too_long_for_a_cell_is_cut_and_shows_it(character, units):
    most = 32_767 // units
    whole, cut = character * most, character * (most + 1)
    _head, first, second = (await _workbook(("T", ("a",), [(whole,), (cut,)])))["T"]
    assert first["A"] == whole
    assert second["A"].endswith("…")
    assert cut.startswith(second["A"][:-1])
    assert 32_765 <= len(second["A"].encode("utf-16-le")) // 2 <= 32_767


async def test_a_table_with_too_many_rows_goes_on_on_the_next_sheet(monkeypatch):
    monkeypatch.setattr(sheets, "MOST_ROWS", 3)
    read = await _workbook(("T", ("a",), [(str(number),) for number in range(5)]), ("U", ("b",), []))
    assert {title: [row["A"] for row in rows] for title, rows in read.items()} == {
        "T": ["a", "0", "1"], "T 2": ["a", "2", "3"], "T 3": ["a", "4"], "U": ["b"],
    }  # fmt: skip


async def test_a_sheet_has_so_many_bytes_and_so_many_columns(monkeypatch):
    monkeypatch.setattr(sheets, "LARGEST_SHEET", 20_000)
    monkeypatch.setattr(sheets, "MOST_COLUMNS", 2)
    read = await _workbook(("T", ("a", "b", "c"), [("x" * 9_000, "y", "z")] * 5))
    assert [len(rows) - 1 for rows in read.values()] == [3, 2]
    assert {letter for rows in read.values() for row in rows for letter in row} == {"A", "B"}


async def test_a_workbook_is_written_in_small_pieces_and_nowhere_else(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("values are never in clear on a disk")

    for name in ("mkstemp", "mkdtemp", "TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    values = [(os.urandom(500).hex(),) for _ in range(2_000)]
    sizes = [len(piece) for piece in await _pieces([Table("T", ("a",), _rows(values))])]
    assert sum(sizes) > 900_000
    assert max(sizes) < 100_000


async def test_a_writer_that_is_given_up_leaves_nothing_open():
    stream = write_workbook([Table("T", ("a",), _rows([(os.urandom(500).hex(),)] * 2_000))])
    assert await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_the_same_rows_give_the_same_bytes():
    first, second = [await _pieces([Table("T", ("a",), _rows([("x",)]))]) for _ in range(2)]
    assert first == second


@pytest.mark.parametrize(
    ("title", "taken", "name"),
    [
        ("Purchases", [], "Purchases"),
        ("Purchases", ["purchases"], "Purchases 2"),
        ("Purchases", ["PURCHASES", "Purchases 2"], "Purchases 3"),
        ("History", [], "History 2"),
        ("a/b\\c[d]e:f*g?", [], "a b c d e f g"),
        ("'quoted'", [], "quoted"),
        ("", [], "-"),
        ("\x00\n", [], "-"),
        ("x" * 40, [], "x" * 30 + "…"),
        ("x" * 40, ["x" * 30 + "…"], "x" * 28 + "… 2"),
        ("\U0001f600" * 20, [], "\U0001f600" * 15 + "…"),
    ],
)
def test_the_name_of_a_sheet_is_valid_in_every_program(title, taken, name):
    assert sheet_title(title, taken) == name
    assert len(name.encode("utf-16-le")) // 2 <= 31


def test_columns_are_lettered():
    numbers = (1, 26, 27, 52, 53, 702, 703, 16_384)
    assert [column_letters(number) for number in numbers] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA", "XFD"]


async def test_a_package_has_a_sheet_for_each_table_with_the_same_cells(sqlite_node):
    subject = await somebody(sqlite_node, purchases=2)
    await buy(sqlite_node, subject, 1, product="=2+5", store="01067", order="4.711E+03")
    files = await files_of(sqlite_node, subject)
    book = read_workbook(files["tables.xlsx"])
    tables = [path for path in files if path.endswith(".csv")]

    assert len(book) == len(tables)
    assert {"Purchases", "accesses on record"} <= book.keys()
    for path, rows in zip(tables, book.values(), strict=True):
        text = files[path].decode("utf-8-sig")
        table = [list(map(unescape_formula, row)) for row in csv.reader(io.StringIO(text, newline=""))]
        letters = [column_letters(number) for number in range(1, len(table[0]) + 1)]
        assert [[row.get(letter, "") for letter in letters] for row in rows] == table, path
    assert {"=2+5", "01067", "4.711E+03", "+442079460123"} <= {
        cell for rows in book.values() for row in rows for cell in row.values()
    }
    assert b'<a href="tables.xlsx">' in files["index.html"]
    assert b"tables.xlsx" in files["README.txt"]


async def test_the_workbook_of_a_package_of_portability_has_no_accesses(sqlite_node):
    files = await files_of(sqlite_node, await somebody(sqlite_node), "portability")
    assert len(read_workbook(files["tables.xlsx"])) == len([path for path in files if path.endswith(".csv")])
