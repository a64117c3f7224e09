"""Write tables.xlsx, the tables of a package for people's spreadsheets, as a stream: SpreadsheetML (ISO/IEC 29500-1).

A CSV table has no types: a spreadsheet guesses, drops the zero in front of a postal code, rounds a number of 16 digits
and executes formulas. Here each cell is an inline string in a column of texts. The writer knows no other kind of cell,
no formula, link or reference to another file, so whatever a value is, it is shown and never executed.

Libraries that write workbooks put the rows into temporary files or keep them all in memory. A package does neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from itertools import count
from typing import IO, TYPE_CHECKING, Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from vault.export.archive import EPOCH, Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

MOST_ROWS: Final = 1_048_576
MOST_COLUMNS: Final = 16_384
MOST_UNITS: Final = 32_767
"""UTF-16 code units of a cell. These three are the limits of the format; a program calls a larger file damaged."""
LARGEST_SHEET: Final = 256 * 1024 * 1024
"""Bytes of a sheet before compression. Further rows are on a sheet of their own, like those beyond MOST_ROWS."""
LONGEST_TITLE: Final = 31

_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_TYPES: Final = (
    f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Default Extension="xml" ContentType="{_TYPE}.worksheet+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/></Types>'
)
_RELATIONS: Final = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
_STYLES: Final = (
    f'{_XML}<styleSheet xmlns="{_MAIN}">'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="49" fontId="1" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" applyFont="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)
"""Style 1 is text (number format 49, ``@``), style 2 the same in bold."""
_TEXT: Final = 1
_BOLD: Final = 2
_SHEET_END: Final = (
    b'</sheetData><ignoredErrors><ignoredError sqref="A1:XFD1048576" numberStoredAsText="1"/></ignoredErrors>'
    b"</worksheet>"
)
_NOT_XML: Final = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|_(?=x[0-9A-Fa-f]{4}_)")
"""Characters that XML 1.0 cannot hold or would change, and what looks like the way in which they are written."""
_NOT_IN_TITLES: Final = re.compile(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\[\]:*?/\\]")


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its title for people, its columns, and its rows with a text for each column."""

    title: str
    columns: Sequence[str]
    rows: AsyncIterator[Sequence[str]]


async def write_workbook(tables: Iterable[Table]) -> AsyncIterator[bytes]:
    """Write a workbook with a sheet for each table, or several where one would be too large."""
    book = _Workbook()
    try:
        for table in tables:
            book.begin(table)
            async for row in table.rows:
                if book.is_full:
                    book.begin(table)
                book.write(row)
                if (written := book.take()) is not None:
                    yield written
        yield book.finish()
    finally:
        book.close()


class _Workbook:
    def __init__(self) -> None:
        self._sink = Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_DEFLATED, allowZip64=False)
        self._sheet: IO[bytes] | None = None
        self._titles: list[str] = []
        for name, text in (("[Content_Types].xml", _TYPES), ("_rels/.rels", _RELATIONS), ("xl/styles.xml", _STYLES)):
            self._part(name, text)

    @property
    def is_full(self) -> bool:
        """Return whether the next row belongs on another sheet."""
        return self._rows >= MOST_ROWS or self._size >= LARGEST_SHEET

    def begin(self, table: Table) -> None:
        """End the sheet before, and begin one with the names of the columns."""
        self._end_sheet()
        self._titles.append(sheet_title(table.title, self._titles))
        self._sheet = self._zip.open(_info(f"xl/worksheets/sheet{len(self._titles)}.xml"), "w")
        self._rows, self._size = 0, 0
        columns = table.columns[:MOST_COLUMNS]
        self._letters = [column_letters(number) for number in range(1, len(columns) + 1)]
        self._write(
            f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
            '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
            f'<cols><col min="1" max="{len(columns)}" width="24" style="{_TEXT}" customWidth="1"/></cols><sheetData>'
        )
        self.write(columns, _BOLD)

    def write(self, row: Sequence[str], style: int = _TEXT) -> None:
        """Write a row."""
        self._rows += 1
        cells = "".join(
            f'<c r="{letters}{self._rows}" s="{style}" t="inlineStr">'
            f'<is><t xml:space="preserve">{cell_text(value)}</t></is></c>'
            for letters, value in zip(self._letters, row, strict=False)
            if value
        )
        self._write(f'<row r="{self._rows}">{cells}</row>')

    def take(self) -> bytes | None:
        """Return the buffered output, once there is enough of it."""
        return self._sink.take()

    def finish(self) -> bytes:
        """End the last sheet, and write the list of all sheets; return the rest of the output."""
        self._end_sheet()
        sheets = list(enumerate(self._titles, 1))
        listed = "".join(f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"/>' for n, name in sheets)
        self._part(
            "xl/workbook.xml",
            f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        )
        related = "".join(
            f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n, _name in sheets
        )
        self._part(
            "xl/_rels/workbook.xml.rels",
            f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{related}'
            f'<Relationship Id="rId{len(sheets) + 1}" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
        )
        self._zip.close()
        return bytes(self._sink.buffer)

    def close(self) -> None:
        """Release the writer, also in the middle of a sheet."""
        if self._sheet is not None:
            self._sheet.close()
        self._zip.close()

    def _end_sheet(self) -> None:
        if self._sheet is not None:
            self._sheet.write(_SHEET_END)
            self._sheet.close()
            self._sheet = None

    def _write(self, text: str) -> None:
        data = text.encode()
        self._size += len(data)
        if self._sheet is not None:
            self._sheet.write(data)

    def _part(self, name: str, text: str) -> None:
        self._zip.writestr(_info(name), text)


def _info(name: str) -> ZipInfo:
    info = ZipInfo(name, EPOCH)
    info.compress_type = ZIP_DEFLATED
    return info


def cell_text(value: str) -> str:
    """Write a text as the content of an element; one that is too long for a cell ends with an ellipsis."""
    short = value if len(value) <= MOST_UNITS // 2 else _cut(value, MOST_UNITS)
    return escape(_NOT_XML.sub(lambda found: f"_x{ord(found[0]):04X}_", short), quote=False)


def column_letters(number: int) -> str:
    """Return the name of a column: A for 1, Z for 26, AA for 27."""
    letters = ""
    while number:
        number, digit = divmod(number - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def sheet_title(title: str, taken: Iterable[str]) -> str:
    """Return the name of a table's sheet: valid in every program, and none of those that are taken."""
    plain = _NOT_IN_TITLES.sub(" ", title).strip(" '") or "-"
    refused = {"history", *(name.casefold() for name in taken)}  # Excel keeps "History" for itself
    suffixes = ("" if number == 1 else f" {number}" for number in count(1))
    names = (_cut(plain, LONGEST_TITLE - len(suffix)).strip(" '") + suffix for suffix in suffixes)
    return next(name for name in names if name.casefold() not in refused)


def _cut(value: str, units: int) -> str:
    """Cut a text to a number of UTF-16 code units, the last of which is then an ellipsis."""
    coded = value.encode("utf-16-le", "surrogatepass")
    if len(coded) <= units * 2:
        return value
    return coded[: units * 2 - 2].decode("utf-16-le", "ignore") + "\u2026"
