"""Files as spreadsheets and other systems write them: damaged cells, words for nothing, several forms of dates."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.imports.files import PEOPLE, PURCHASES, Faults, bring_in, counts, read, subject_of, write_csv, write_jsonl
from tests.vaults import problem
from vault.catalogue.types import ValueProblem
from vault.errors import InvalidInput
from vault.imports.damage import require_undamaged
from vault.imports.mapping import parse_mapping
from vault.imports.store import _read_notes as notes_of

DAMAGED = "looks-like-spreadsheet-damage"
HEAD = 'purpose = "order-fulfilment"\n[external_ids]\nshop = "no"\n[fields]\n'
ERRORS = ["#REF!", "#N/A", "#NV", "#VALUE!", "#WERT!", "#BEZUG!", "#DIV/0!", "#NAME?", "#NULL!", "####", "Err:502"]
SCIENTIFIC = ["4.711E+03", "4,711E+03", "1.23457E+15", "-1.5E-05", "1E+05", "4.711e+03"]


async def imported(node, path, fields, *, head=HEAD, **how):
    watcher = Faults()
    report = await bring_in(node, path, head + fields, watcher=watcher, **how)
    return report, watcher.told


@pytest.mark.parametrize("cell", [*ERRORS, *SCIENTIFIC])
async def test_a_cell_that_a_spreadsheet_has_mangled_is_refused_wherever_it_is(sqlite_node, tmp_path, cell):
    rows = [[cell, "Ada", "a@example.org"], ["2", cell, "b@example.org"], ["3", "Eve", cell], ["4", "Bob", "d@x.org"]]
    path = write_csv(tmp_path / "p.csv", "no,name,mail", *rows)
    report, told = await imported(sqlite_node, path, 'name = { template = "{name} X" }\nemail = "mail"\n')
    assert told == [(2, DAMAGED, "external_ids.shop"), (3, DAMAGED, "name"), (4, DAMAGED, "email")]
    assert counts(report) == (1, 0, 0, 3)


async def test_a_record_with_a_mangled_id_or_time_is_refused(sqlite_node, tmp_path):
    await imported(sqlite_node, write_csv(tmp_path / "p.csv", "no,name", "1,Ada"), 'name = "name"\n')
    rows = ["1,4.711E+03,,1.00", "1,L2,45321,1.00", "1,L3,45321.5,1.00", "1,L4,#N/A,1.00", "1,L5,,1.00"]
    path, watcher = write_csv(tmp_path / "r.csv", "customer,line,at,amount", *rows), Faults()
    assert counts(await bring_in(sqlite_node, path, PURCHASES, watcher=watcher)) == (1, 0, 0, 4)
    fields = ["record", "occurred_at", "occurred_at", "occurred_at"]
    assert watcher.told == [(line, DAMAGED, field) for line, field in enumerate(fields, 2)]


@pytest.mark.parametrize("cell", ['"born"', '{ column = "born", date_format = "%d.%m.%Y" }'])
async def test_a_date_that_became_a_serial_number_is_refused(sqlite_node, tmp_path, cell):
    path = write_csv(tmp_path / "p.csv", "no,born", "1,33068", "2,33068.0")
    _report, told = await imported(sqlite_node, path, f"birth_date = {cell}\n")
    assert told == [(2, DAMAGED, "birth_date"), (3, DAMAGED, "birth_date")]
    if "format" not in cell:
        path = write_jsonl(tmp_path / "p.jsonl", {"no": "1", "born": 33068})
        assert (await imported(sqlite_node, path, f"birth_date = {cell}\n"))[1] == [(1, DAMAGED, "birth_date")]


@pytest.mark.parametrize(
    ("country", "code", "refused"),
    [
        ("DE", "1067", True), ("DE", "01067", False), ("FI", "100", True), ("US", "2134", True), ("US", "02134", False),
        ("AU", "800", True), ("AU", "0800", False), ("SK", "1001", True), ("SK", "010 01", False), ("CH", "8001", False),
        ("AT", "1010", False), ("JP", "600000", True), ("JP", "060-0000", False), ("GB", "EC1A 1BB", False),
    ],
)  # fmt: skip
async def test_a_postal_code_that_lost_its_zeros_is_refused(sqlite_node, tmp_path, country, code, refused):
    path = write_csv(tmp_path / "p.csv", "no,zip,land", [["1", code, country]][0])
    fields = 'address = { object = { postal_code = "zip", country = "land", city = { constant = "X" } } }\n'
    _report, told = await imported(sqlite_node, path, fields)
    assert told == ([(2, DAMAGED, "address")] if refused else [])


@given(st.text(max_size=12))
def test_any_cell_is_damaged_or_not_and_the_error_never_repeats_it(cell):
    try:
        require_undamaged(cell)
    except ValueProblem as problem:
        found = problem
    else:
        return
    assert found.code == DAMAGED
    assert cell not in found.detail or len(cell) < 2


@pytest.mark.parametrize("text", ["4711", "1E5", "3E-12", "E+03", "#1", "#ada", "12e", "A4.711E+03", "+49 30 123456"])
async def test_other_cells_are_taken(text):
    require_undamaged(text)


async def test_the_api_refuses_ids_in_scientific_form_where_it_is_sure(sqlite_node):
    node = sqlite_node
    body = {"profile": {"name": "Ada"}, "purpose": "order-fulfilment"}
    for door in ("/v1/subjects", "/v1/subjects:upsert"):
        problem(await node.post("sales", door, body | {"external_ids": {"shop": "4.711E+03"}}), 422, DAMAGED)
    subject = await node.create(external_ids={"shop": "1E+05"})
    sale = {"amount": "1.00", "currency": "EUR"}
    answer = await node.append("sales", subject, "purchase", sale, "order-fulfilment", external_id="1.23457E+15")
    problem(answer, 422, DAMAGED)


@pytest.mark.parametrize("word", ["null", "NULL", "n/a", "-", "None", "NaN"])
async def test_words_for_nothing_are_taken_and_counted_unless_they_are_listed(sqlite_node, tmp_path, word):
    rows = [[str(number), f"Person {number}" if number else word, word] for number in range(4)]
    path = write_csv(tmp_path / "p.csv", "no,name,town", *rows)
    fields = 'name = "name"\naddress = { object = { city = "town", street = { constant = "x" } } }\n'
    report, told = await imported(sqlite_node, path, fields, dry_run=True)
    assert (told, report.notes) == ([], {"looks-empty": {"address": 4, "name": 1}})
    listed = HEAD.replace("[external_ids]", f"[file]\nmissing = [{json.dumps(word)}]\n[external_ids]")
    report, told = await imported(sqlite_node, path, fields, head=listed)
    assert (told, report.notes) == ([], {})


async def test_notes_are_kept_for_an_import_that_goes_on(sqlite_node):
    old, new = b'[[1,"bad-format","name","x"]]', b'{"faults":[],"notes":[["looks-empty","name",3]]}'
    assert [notes_of(stored)[1] for stored in (old, new)] == [[], [("looks-empty", "name", 3)]]
    assert notes_of(old)[0] == [(1, "bad-format", "name", "x")]


async def test_a_person_called_null_is_taken_by_the_api(sqlite_node):
    subject = await sqlite_node.create({"name": "Null", "family_name": "Null"})
    assert (await read(sqlite_node, UUID(subject), "family_name")) == {"family_name": "Null"}


async def test_values_that_are_no_values_of_their_field_can_be_left_out(sqlite_node, tmp_path):
    path = write_csv(tmp_path / "p.csv", "no,name,mail,born", "1,Ada,nonsense,1990-07-14", "2,Bob,b@x.org,once")
    fields = 'name = "name"\nemail = { column = "mail", otherwise = "leave-out" }\n'
    fields += 'birth_date = { column = "born", date_format = "%Y-%m-%d", otherwise = "leave-out" }\n'
    report, told = await imported(sqlite_node, path, fields)
    assert (counts(report), told) == ((2, 0, 0, 0), [])
    assert report.notes == {"left-out": {"birth_date": 1, "email": 1}}
    shown = await read(sqlite_node, await subject_of(sqlite_node, "1"), "birth_date", "email")
    assert shown == {"birth_date": "1990-07-14"}


async def test_a_column_may_have_several_forms_of_dates_and_a_missing_day_is_named(sqlite_node, tmp_path):
    rows = ["1,31.12.1990", "2,31/12/1970", "3,1.2.85", "4,29.02.1991", "5,soon", "6,29.2.00"]
    formats = '["%d.%m.%Y", "%d/%m/%Y", "%d.%m.%y"]'
    watcher = Faults()
    mapping = HEAD + f'birth_date = {{ column = "born", date_format = {formats}, pivot = 2010 }}\n'
    report = await bring_in(sqlite_node, write_csv(tmp_path / "p.csv", "no,born", *rows), mapping, watcher=watcher)
    assert counts(report) == (4, 0, 0, 2)
    assert [(fault.line, fault.code, fault.detail) for fault in watcher.faults] == [
        (5, "bad-format", "the calendar has no such day"),
        (6, "bad-format", "must be a date or time in the format of the mapping"),
    ]
    found = [(await read(sqlite_node, await subject_of(sqlite_node, no), "birth_date"))["birth_date"] for no in "1236"]
    assert found == ["1990-12-31", "1970-12-31", "1985-02-01", "2000-02-29"]


@pytest.mark.parametrize(
    ("pivot", "written", "born"), [(2026, "12.03.45", "1945-03-12"), (2026, "12.03.26", "2026-03-12"), (1999, "29.02.00", None), (2026, "12.03.27", "1927-03-12")]
)  # fmt: skip
async def test_two_digits_of_a_year_mean_the_hundred_years_up_to_the_pivot(sqlite_node, tmp_path, pivot, written, born):
    cell = f'{{ column = "born", date_format = "%d.%m.%y", pivot = {pivot} }}'
    path = write_csv(tmp_path / "p.csv", "no,born", f"1,{written}")
    report, told = await imported(sqlite_node, path, f"birth_date = {cell}\n")
    if born is None:
        assert told == [(2, "bad-format", "birth_date")]  # 1900 was no leap year
    elif born > "2026-03-05":
        assert told == [(2, "out-of-range", "birth_date")]
    else:
        assert counts(report) == (1, 0, 0, 0)
        assert await read(sqlite_node, await subject_of(sqlite_node, "1"), "birth_date") == {"birth_date": born}


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ('date_format = "%d.%m.%y"', "pivot"),
        ('date_format = ["%d.%m.%Y", "%d.%m.%y"]', "pivot"),
        ('date_format = "%d.%m.%y", pivot = 26', "pivot"),
        ('date_format = "%d.%m.%Y", pivot = 2026', "pivot"),
        ('date_format = "%x"', "%x"),
        ('region = "Germany"', "region"),
    ],
)
def test_a_mapping_is_refused_with_the_word_that_it_lacks(cell, word):
    with pytest.raises(InvalidInput) as error:
        parse_mapping(HEAD + f'birth_date = {{ column = "born", {cell} }}\n')
    assert [word in fault.detail for fault in error.value.faults] == [True]


async def test_national_telephone_numbers_need_a_region_which_the_error_names(sqlite_node, tmp_path):
    path, watcher = write_csv(tmp_path / "p.csv", "no,tel", "1,030 123456"), Faults()
    await bring_in(sqlite_node, path, HEAD + 'phone = "tel"\n', watcher=watcher)
    ((_line, code, field, detail),) = watcher.faults
    assert (code, field) == ("ambiguous", "phone")
    assert "`region`" in detail
    report, _told = await imported(sqlite_node, path, 'phone = { column = "tel", region = "DE" }\n')
    assert counts(report) == (1, 0, 0, 0)
    with pytest.raises(InvalidInput, match="inconsistent"):
        await imported(sqlite_node, path, 'name = { column = "tel", region = "DE" }\n')


async def test_empty_columns_at_the_end_are_passed_over_and_others_are_named_by_their_position(sqlite_node, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("no;name;;\n1;Ada;;\n2;Bob\n3;Eve;x;\n4;Zoe; ;\n")
    report, told = await imported(sqlite_node, path, 'name = "name"\n')
    assert (counts(report), told) == ((3, 0, 0, 1), [(4, "not-a-line", None)])
    for head, where in (
        ("no;;name", "no name for column 2"),
        ("no;name;no", "same name for columns 1 and 3"),
        (";;", "no column"),
    ):
        path.write_text(f"{head}\n1;Ada;x\n")
        with pytest.raises(InvalidInput, match=where):
            await imported(sqlite_node, path, 'name = "name"\n')


async def test_without_a_mapping_all_unknown_columns_are_one_message(sqlite_node, tmp_path):
    path = write_csv(tmp_path / "p.csv", "external_ids.shop,a,b,name,c", "1,2,3,Ada,5")
    with pytest.raises(InvalidInput) as error:
        await bring_in(sqlite_node, path, None, purpose="order-fulfilment")
    assert [fault.detail for fault in error.value.faults] == [
        "columns 2, 3, 5 have the name of no field of the profile"
    ]
    assert "--suggest-mapping" in error.value.hint


async def test_people_without_an_external_id_come_in_where_the_mapping_says_so_and_once(node, tmp_path):
    path = write_csv(tmp_path / "p.csv", "no,name", "1,Ada", ",Bob", ",Bob")
    head = HEAD.replace("[external_ids]", 'unnumbered = "newsletter"\n[external_ids]')
    assert counts((await imported(node, path, 'name = "name"\n'))[0]) == (1, 0, 0, 2)
    assert counts((await imported(node, path, 'name = "name"\n', head=head))[0]) == (2, 0, 1, 0)
    assert counts((await imported(node, path, 'name = "name"\n', head=head))[0]) == (0, 0, 3, 0)
    alone = (
        PEOPLE.replace('[external_ids]\nshop = "no"\n', "")
        .replace("[fields]", "[fields]")
        .replace('source = "old-crm"', 'unnumbered = "list"')
    )
    nobody = write_csv(tmp_path / "q.csv", "name,mail", "Zoe,z@example.org")
    assert counts(await bring_in(node, nobody, alone)) == (1, 0, 0, 0)
