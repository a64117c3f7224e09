"""Readers of files: every format gives the same lines chunk by chunk as it does as a whole."""

from __future__ import annotations

import builtins
import csv
import io
import json
import sys
import tracemalloc
from datetime import datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from vault.errors import InvalidInput, Misconfigured
from vault.imports import readers
from vault.imports.lines import LineParser
from vault.imports.mapping import FileForm, parse_mapping
from vault.imports.readers import LONGEST_LINE, CsvReader, JsonlReader, ParquetReader, Span, open_reader
from vault.imports.survey import survey_file

MAPPING = parse_mapping('purpose = "x"\n[external_ids]\nshop = "no"\n')
CELLS = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=8)


def surveyed(reader, size):
    return survey_file(reader, LineParser(MAPPING, {}, reader), size, lambda _done: None)


def chunked(reader, size):
    result = surveyed(reader, size)
    assert sum(chunk.lines for chunk in result.chunks) == result.lines
    return [list(reader.read(chunk.span)) for chunk in result.chunks]


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=30), size=st.integers(1, 7), bom=st.booleans())
def test_reading_csv_in_chunks_gives_the_same_rows_as_reading_it_as_a_whole(tmp_path_factory, rows, size, bom):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("no", "name"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())
    reader = CsvReader(path, FileForm())
    assert [line.row for chunk in chunked(reader, size) for line in chunk] == [list(row) for row in rows]


def test_line_numbers_count_the_lines_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'no,name\r\n1,a\r\n\r\n2,"two\nlines"\r\n3,c\n\n\n4,d')
    for size in (1, 2, 5):
        lines = [line for chunk in chunked(CsvReader(path, FileForm()), size) for line in chunk]
        assert [(line.number, line.row[0]) for line in lines] == [(2, "1"), (4, "2"), (6, "3"), (9, "4")]


@pytest.mark.parametrize(
    ("head", "row", "form"),
    [("no;name", "1;Ann, B", {}), ("no\tname", "1\tAnn, B", {}), ("no|name", "1|Ann, B", {"delimiter": "|"})],
)
def test_delimiters_are_detected_or_configured(tmp_path, head, row, form):
    path = tmp_path / "a.csv"
    path.write_text(f"{head}\n{row}\n")
    assert [line.row for line in chunked(CsvReader(path, FileForm(**form)), 5)[0]] == [["1", "Ann, B"]]


def test_other_encodings_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("no,name\n1,Zoë €\n".encode("cp1252"))
    assert chunked(CsvReader(path, FileForm(encoding="cp1252")), 5)[0][0].row == ["1", "Zoë €"]


def test_undecodable_bytes_do_not_stop_an_import(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"no,name\n1,\xff\xfe\n2,b\n")
    rows = [line.row for line in chunked(CsvReader(path, FileForm()), 5)[0]]
    assert rows == [["1", "\udcff\udcfe"], ["2", "b"]]


@pytest.mark.parametrize("text", ["", "\n", "a,a\n1,2\n", ",\n"])
def test_a_csv_file_needs_a_header(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput) as error:
        CsvReader(path, FileForm())
    assert error.value.code == "no-header"


def test_an_unclosed_quotation_mark_is_reported_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'no,name\n1,a\n2,"' + b"x" * 5_000_000 + b"\n")
    with pytest.raises(InvalidInput) as error:
        surveyed(CsvReader(path, FileForm()), 5)
    assert error.value.code == "not-csv"
    assert "x" not in error.value.detail.replace("no CSV", "")


LONG = 64 * LONGEST_LINE
ROW = b'"a\n",' * 1000


@pytest.mark.parametrize(
    ("name", "start", "more", "code"),
    [
        ("a.csv", b"no,name\n1,a\n2,", b"\0" * 10_000, "not-csv"),
        ("a.csv", b"no,name\n1,a\n2,", b"," * 10_000, "not-csv"),
        ("a.csv", b"no,name\n1,a\n2,", ROW, "not-csv"),
        ("a.csv", b"no,", b"\0" * 10_000, "not-csv"),
        ("a.jsonl", b'{"no":"1"}\n{"no":"', b"x" * 10_000, "line-too-long"),
        ("a.jsonl", b"", b"\0" * 10_000, "line-too-long"),
    ],
)
def test_a_line_without_end_is_refused_at_a_bound(tmp_path, name, start, more, code):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(start)
        for _ in range(LONG // len(more)):
            file.write(more)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput) as error:
            surveyed(open_reader(MAPPING, path), 5)
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.value.code == code
    assert most < LONG / 2


def test_lines_up_to_the_bound_are_read(tmp_path):
    long = "x" * (LONGEST_LINE - 100)
    (tmp_path / "a.csv").write_text(f'no,name\n1,"\n{long}"\n2,"{long}"\n3,b\n')
    (tmp_path / "a.jsonl").write_text("".join(f'{{"no":"{no}","name":"{long}"}}\n' for no in (1, 2, 3)))
    for name in ("a.csv", "a.jsonl"):
        assert surveyed(open_reader(MAPPING, tmp_path / name), 5).lines == 3


def test_jsonl_lines_that_are_not_objects_are_reported(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"no": 1, "a": {"b": 2}}\n\n[1]\n{"no": \n"x"\n{"no": 3}')
    reader = JsonlReader(path)
    for size in (1, 3, 9):
        lines = [line for chunk in chunked(reader, size) for line in chunk]
        assert [(line.number, line.row and line.row["no"]) for line in lines] == [
            (1, 1), (3, None), (4, None), (5, None), (6, 3),
        ]  # fmt: skip
    assert reader.locate("a.b")({"a": {"b": 2}}) == 2
    assert reader.locate("a.b")({"a.b": 3}) == 3
    assert reader.locate("a.b.c")({"a": {"b": 2}}) is None


def test_a_line_of_jsonl_that_gives_a_name_twice_is_reported(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"no": "1", "no": "2"}\n{"no": "3", "a": {"b": 1, "b": 2}}\n{"no": "4", "a": {"no": "5"}}\n')
    rows = [line.row for line in JsonlReader(path).read(Span(0, path.stat().st_size, 1))]
    assert rows == [None, None, {"no": "4", "a": {"no": "5"}}]


def test_columns_of_jsonl_are_the_names_of_its_first_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"email": "x", "external_ids": {"shop": "1"}}\n{"name": "y", "address": {"city": "z"}}\n')
    assert JsonlReader(path).columns == ["email", "external_ids.shop", "name", "address"]


def _bomb(pa, kind):
    """Return columns whose cells take 40 MB and whose file takes little, and how to write them."""
    rows, size = 2000, 20_000
    numbers = pa.array([str(i) for i in range(rows)])
    one, index = "x" * size, pa.array([0] * rows, pa.int32())
    plain = {"use_dictionary": False, "data_page_size": size}
    cells, how = {
        "dictionary": (pa.DictionaryArray.from_arrays(index, pa.array([one])), {}),
        "large-strings": (pa.array([one] * rows, pa.large_string()), {}),
        "binary": (pa.array([one.encode()] * rows), {}),
        "compressed": (pa.array([one] * rows), plain),
        "prefixes": (
            pa.array([f"{one}{i}" for i in range(rows)]),
            {**plain, "column_encoding": {"name": "DELTA_BYTE_ARRAY"}},
        ),
        "fixed-size": (pa.array([one.encode()] * rows, pa.binary(size)), {}),
        "lists": (pa.array([[one, None]] * rows), {}),
        "long-lists": (pa.array([[7] * 2500] * rows, pa.list_(pa.int64())), {}),
        "structs": (pa.array([{"a": one}] * rows), {}),
    }[kind]
    return pa.table({"no": numbers, "name": cells}), {"compression": "zstd", **how}


def _forge(path, metadata):
    """Rewrite the footer, so that it says that all columns are tiny and plain."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[-8:-4], "little")
    footer = bytes(data[-8 - length : -8])
    forged = footer
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            size = metadata.row_group(group).column(index).total_uncompressed_size
            true = b"\x16" + _varint(2 * size)  # field 6, the size, as a number of 64 bits
            assert true in forged
            forged = forged.replace(true, b"\x16" + _varint(2, len(true) - 1))
    for encoding in (7, 8):  # in the list of the column's encodings
        for head in (b"\x19\x15", b"\x19\x25", b"\x19\x35", b"\x19\x45"):
            start = 0
            while (start := forged.find(head, start)) >= 0:
                start += 2
                number = head[1] >> 4
                listed = forged[start : start + number].replace(bytes([2 * encoding]), b"\0")
                forged = forged[:start] + listed + forged[start + number :]
    data[-8 - length : -8] = forged
    path.write_bytes(data)


def _varint(number, length=0):
    """Write a number, with as many bytes as are asked for."""
    parts = []
    while number > 127 or len(parts) + 1 < length:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


@pytest.mark.parametrize("forged", [False, True], ids=["honest", "forged"])
@pytest.mark.parametrize(
    "kind",
    ["dictionary", "large-strings", "binary", "compressed", "prefixes", "fixed-size", "lists", "long-lists", "structs"],
)
def test_a_small_parquet_file_does_not_become_many_bytes(tmp_path, monkeypatch, kind, forged):
    """The bound is lowered here, as a file beyond the real one would take long to write."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, how = _bomb(pa, kind)
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, **how)
    assert path.stat().st_size < 1_500_000
    expected = table.column("name").to_pylist()
    del table
    if forged:
        _forge(path, pq.read_metadata(path))
        columns = [pq.read_metadata(path).row_group(0).column(index) for index in range(2)]
        assert {column.total_uncompressed_size for column in columns} == {1}
        assert not {"RLE_DICTIONARY", "DELTA_BYTE_ARRAY"} & {each for column in columns for each in column.encodings}
    monkeypatch.setattr(readers, "DECODED_AT_ONCE", 500_000)
    sizes = []
    rows_of = ParquetReader._rows_of

    def measured(self, batch, columns):
        sizes.append(batch.get_total_buffer_size())
        return rows_of(self, batch, columns)

    monkeypatch.setattr(ParquetReader, "_rows_of", measured)
    reader = open_reader(MAPPING, path)
    chunks = surveyed(reader, 100).chunks
    for chunk in chunks:
        rows = [line.row for line in reader.read(chunk.span)]
        start = chunk.span.start
        assert [row[0] for row in rows] == [str(start + i) for i in range(len(rows))]
        assert [row[1] for row in rows] == expected[start : start + len(rows)]
        if kind == "dictionary" and not forged:
            assert len({id(row[1]) for row in rows}) <= 2  # equal texts are one text
    assert max(sizes) < 1_500_000
    assert len(chunks) == 20


def test_a_page_with_a_damaged_header_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"no": ["1"], "name": ["Ada"]}), path)
    whole = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(1)
    start = min(column.dictionary_page_offset, column.data_page_offset)
    for damage in (b"\0", b"\xff" * 16, b"\x19\xf5" + b"\xff" * 9, b"\x1c" * 40):
        path.write_bytes(whole[:start] + damage + whole[start + len(damage) :])
        with pytest.raises(InvalidInput, match="row group 1"):
            list(open_reader(MAPPING, path).read(Span(0, 1, 1)))


def test_a_row_group_that_is_too_large_is_refused_in_words(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"no": ["1"], "name": ["x" * 5000]}), tmp_path / "a.parquet", use_dictionary=False)
    monkeypatch.setattr(readers, "LARGEST_GROUP", 4000)
    with pytest.raises(InvalidInput) as error:
        list(open_reader(MAPPING, tmp_path / "a.parquet").read(Span(0, 1, 1)))
    assert error.value.code == "row-group-too-large"
    assert error.value.hint
    read = open_reader(MAPPING, tmp_path / "a.parquet", {"no"}).read(Span(0, 1, 1))
    assert [line.row for line in read] == [("1",)]


def test_parquet_chunks_can_be_read_in_any_order(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 20_000
    table = pa.table(
        {
            "no": list(range(count)),
            "at": pa.array([datetime(2026, 1, 1, 1)] * count, pa.timestamp("ns")),  # noqa: DTZ001 - as files have them
            "kind": pa.array(["a", None] * (count // 2)).dictionary_encode(),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=6_000)
    mapping = parse_mapping('purpose = "x"\n[external_ids]\nshop = "no"\n')
    reader = open_reader(mapping, path, {"no", "kind", "at"})
    result = surveyed(reader, 1_500)
    assert result.lines == count
    for chunk in [*result.chunks[::2], *reversed(result.chunks)]:
        lines = list(reader.read(chunk.span))
        assert [line.number for line in lines] == list(range(chunk.span.start + 1, chunk.span.end + 1))
        assert lines[0].row == (chunk.span.start, datetime(2026, 1, 1, 1), None if chunk.span.start % 2 else "a")  # noqa: DTZ001 - as files have them


def test_without_pyarrow_the_error_has_a_hint(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    with pytest.raises(Misconfigured) as error:
        open_reader(MAPPING, tmp_path / "a.parquet")
    assert error.value.hint == "pip install 'customer-data-vault[parquet]'"


@pytest.mark.parametrize("name", ["missing.csv", "folder.jsonl"])
def test_an_unreadable_file_is_reported(tmp_path, name):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InvalidInput) as error:
        open_reader(MAPPING, tmp_path / name)
    assert error.value.code == "unreadable-file"


def test_a_malformed_parquet_file_is_reported(tmp_path):
    (tmp_path / "a.parquet").write_text("no,name\n1,a\n")
    with pytest.raises(InvalidInput) as error:
        open_reader(MAPPING, tmp_path / "a.parquet")
    assert error.value.code == "not-parquet"


@given(numbers=st.lists(st.integers(0, 20), max_size=60), size=st.integers(1, 9))
def test_the_first_of_duplicate_lines_counts(tmp_path_factory, numbers, size):
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_text("".join(json.dumps({"no": number}) + "\n" for number in numbers))
    result = surveyed(JsonlReader(path), size)
    wanted = {at + 1 for at, number in enumerate(numbers) if number in numbers[:at]}
    assert {line for chunk in result.chunks for line in chunk.duplicates} == wanted
    for chunk in result.chunks:
        inside = range(chunk.span.line, chunk.span.line + chunk.lines)
        assert set(chunk.duplicates) <= set(inside)
