"""The table of a package goes in again as it came out, and a mapping can be suggested for a file."""

from __future__ import annotations

import csv
import tomllib
from datetime import date
from io import StringIO
from uuid import UUID

import msgspec
import pytest

from tests.export.customer import files_of
from tests.imports.files import bring_in, counts, read, subject_of, write_csv
from vault.catalogue.types import TYPES
from vault.errors import InvalidInput
from vault.ids import DEFAULT_TENANT
from vault.imports.mapping import parse_mapping
from vault.imports.suggest import suggest_mapping
from vault.policy.policy_set import PolicySet

VALUES = {
    "text": ["=1+1", "'=1+1", "'tis", "@ada; +x", '"a"\t\'-b', "-5", "O'Neill"],
    "email": ["+ada@example.org", "=a@example.org"],
    "phone": ["+442079460123", "+4930123456;ext=12"],
    "date": ["1985-12-10"],
    "country": ["GB"],
    "address": [{"street": "=12 Square", "postal_code": "01067", "city": "-Dresden", "country": "DE"}],
    "language": ["de-AT"],
    "integer": [-42, 0],
    "decimal": ["-12.90", "0.0000001"],
    "money": [{"amount": "-12.90", "currency": "EUR"}],
    "currency": ["EUR"],
    "boolean": [True, False],
    "enumeration": ["+plus", "-"],
    "iban": ["DE89370400440532013000"],
    "national_id": ["85-1234"],
    "json": [{"a": [1, "=2", None, {"b": -0.5}]}, ["=1", "'x"]],
}
OPTIONS = {"enumeration": 'options = { values = ["+plus", "-"] }\n', "text": "options = { multiline = true }\n"}


def with_all_types(files):
    """Return policies with a field of each value above."""
    fields = "".join(
        f'[field.profile.x_{kind}_{number}]\ntitle = "{kind} {number}"\ntype = "{kind}"\n{OPTIONS.get(kind, "")}'
        'category = "user.behavior"\ndpv = "pd:Behavioral"\nsensitivity = "internal"\n'
        for kind, values in VALUES.items()
        for number in range(len(values))
    )
    needed = "".join(f'  "x_{kind}_{number}",\n' for kind, values in VALUES.items() for number in range(len(values)))
    mark = '  "birth_date.over_18",'  # of an order
    changed = {"catalogue.toml": files["catalogue.toml"] + fields}
    changed["purposes.toml"] = files["purposes.toml"].replace(mark, needed + mark, 1)
    return PolicySet.load({**files, **changed})


async def test_a_value_of_every_type_goes_out_and_in_again(sqlite_node, tmp_path):
    node = sqlite_node
    assert VALUES.keys() == TYPES.keys()
    files = dict(node.services.policies.active(DEFAULT_TENANT).policy_set.files)
    await node.services.policies.apply(DEFAULT_TENANT, with_all_types(files), "test")
    given = {f"x_{kind}_{n}": value for kind, values in VALUES.items() for n, value in enumerate(values)}
    subject = UUID(await node.create_fully(**given))
    table = (await files_of(node, subject))["csv/profile.csv"]
    path = tmp_path / "profile.csv"
    path.write_bytes(table)
    header = next(csv.reader(StringIO(table.decode("utf-8-sig"))))
    cells: dict[str, object] = {}
    for column in header:
        name, _, part = column.partition(".")
        if name in given:
            cells[name] = (
                column if not part else {"object": {**cells.get(name, {"object": {}})["object"], part: column}}
            )
    mapping = {
        "purpose": "subject-rights",
        "file": {"spreadsheet_guard": True},
        "external_ids": {"package": "record"},
        "fields": cells,
    }
    assert cells.keys() == given.keys()
    assert counts(await bring_in(node, path, toml(mapping))) == (1, 0, 0, 0)
    again = await subject_of(node, str(subject), system="package")
    assert again != subject
    assert await read(node, again, *given) == given


def toml(mapping):
    lines = [f"purpose = {quoted(mapping['purpose'])}"]
    for table in ("file", "external_ids", "fields"):
        lines += [f"[{table}]", *(f"{key} = {quoted(value)}" for key, value in mapping[table].items())]
    return "\n".join(lines)


def quoted(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {quoted(part)}" for key, part in value.items()) + " }"
    return msgspec.json.encode(value).decode()


async def test_without_the_key_an_apostrophe_is_part_of_the_value(sqlite_node, tmp_path):
    path = write_csv(tmp_path / "p.csv", "no,name", "1,'=Ada")
    mapping = 'purpose = "order-fulfilment"\n[external_ids]\nshop = "no"\n[fields]\nname = "name"\n'
    await bring_in(sqlite_node, path, mapping)
    assert await read(sqlite_node, await subject_of(sqlite_node, "1"), "name") == {"name": "'=Ada"}


GERMAN = """\
Kundennr;Vorname;Nachname;E-Mail;Telefon;Geburtsdatum;Straße;PLZ;Ort;Geheimnis;Kommentar
1001;Ada;Lovelace;ada@example.org;030 123456;10.12.1985;Weg 1;01067;Dresden;DE89370400440532013000;hidden
1002;Bob;n/a;bob@example.org;030 123457;01.02.1990;Weg 2;01069;Dresden;DE89370400440532013000;words
"""


async def test_a_suggested_mapping_fits_the_file_and_has_no_value(sqlite_node, tmp_path):
    path = tmp_path / "kunden.csv"
    path.write_bytes(GERMAN.encode("cp1252"))
    catalogue = sqlite_node.services.policies.active(DEFAULT_TENANT).policy_set.catalogue
    text = suggest_mapping(path, catalogue, date(2026, 3, 5))
    found = tomllib.loads(text)
    assert found["file"] == {"encoding": "cp1252", "missing": ["n/a"]}
    assert found["external_ids"] == {"crm": "Kundennr"}
    assert found["fields"]["birth_date"] == {"column": "Geburtsdatum", "date_format": "%d.%m.%Y"}
    assert found["fields"]["phone"] == {"column": "Telefon", "region": "DE"}
    assert found["fields"]["iban"] == "Geheimnis"  # by its values, for its name says nothing
    assert found["fields"]["address"]["object"].keys() == {"street", "postal_code", "city", "country"}
    assert '# "Kommentar": which field is it?' in text
    for line in GERMAN.splitlines()[1:]:
        assert not [cell for cell in line.split(";") if cell in text and cell != "n/a"]
    mapping = text.replace('iban = "Geheimnis"\n', "")  # an order needs no bank account
    assert counts(await bring_in(sqlite_node, path, mapping)) == (2, 0, 0, 0)


async def test_two_digit_years_are_suggested_with_their_pivot_and_missing_ids_with_the_key_for_it(
    sqlite_node, tmp_path
):
    path = write_csv(tmp_path / "p.csv", "name,born,mail", "Ada,10.12.85,a@x.org", "Bob,01.02.90,b@x.org")
    catalogue = sqlite_node.services.policies.active(DEFAULT_TENANT).policy_set.catalogue
    text = suggest_mapping(path, catalogue, date(2026, 3, 5))
    found = parse_mapping(text)
    assert (found.unnumbered, found.fields["birth_date"].pivot) == ("this-file", 2026)
    assert counts(await bring_in(sqlite_node, path, text)) == (2, 0, 0, 0)


async def test_nothing_is_suggested_for_a_file_without_a_header(sqlite_node, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("1001,Ada,ada@example.org\n1002,Bob,bob@example.org\n")
    catalogue = sqlite_node.services.policies.active(DEFAULT_TENANT).policy_set.catalogue
    with pytest.raises(InvalidInput) as error:
        suggest_mapping(path, catalogue, date(2026, 3, 5))
    assert error.value.code == "no-header"
    assert "example.org" not in str(error.value)
