"""The record as CSV and as Markdown: complete, and safe to open."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.folders import shipped
from vault.audit.entry import Use
from vault.governance import record_formats
from vault.governance.processing_record import build
from vault.governance.record_facts import Facts, Tally, grants_of
from vault.ids import TenantId, new_id
from vault.policy.policy_set import PolicySet

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
SHOP = "01a201ab-0d4b-7828-b9af-02e78890e8b4"


def read(purpose="order-fulfilment", **facts):
    given = {"at": "2026-03-05T11:00:00.000000Z", "action": "read", "principal": SHOP, "principal_name": "web-shop"}
    return Use(**{**given, "purpose": purpose, "fields": ("profile.email.clear",), "subjects": ("1",), **facts})


def make(*uses, **files):
    texts = shipped() | {name.replace("_", "."): text for name, text in files.items()}
    policy_set = PolicySet.load({name: text for name, text in texts.items() if text is not None})
    tally = Tally()
    tally.add(uses)
    return build(
        Facts(
            tenant=TenantId("default"),
            policy_set=policy_set,
            grants=grants_of(policy_set, "default", NOW.date()),
            principals={},
            usage=tally.by_purpose(),
            since=NOW.replace(year=2025),
            until=NOW,
        ),
        new_id(),
    )


def rows(record):
    return list(csv.DictReader(io.StringIO(record_formats.write_csv(record), newline="")))


def test_the_csv_has_a_row_for_each_purpose():
    record = make(read())
    result = rows(record)
    assert [item["purpose"] for item in result] == [activity.purpose for activity in record.activities]
    orders = next(row for row in result if row["purpose"] == "order-fulfilment")
    assert orders["recipients"] == "parcel services; payment services"
    assert orders["legal ground"] == "Art. 6(1)(b) GDPR, contract"
    assert orders["read by"] == "web-shop (1)"
    assert orders["fields read"] == "email"
    assert "web-shop read for order-fulfilment once, last on 2026-03-05." in orders["findings"]
    assert orders["retention"].startswith("3 years after the last contact: ")
    assert orders["controller"] == (
        "Example Retail Ltd, 1 Example Quay, Dublin 2, D02 XY00, IE, privacy@retail.example, +353 1 555 0100, "
        "https://retail.example"
    )


def test_an_undeclared_purpose_has_a_row_for_its_findings():
    last = rows(make(read(purpose="long-gone")))[-1]
    assert (last["purpose"], last["owner"]) == ("long-gone", "")
    assert "no longer declares this purpose" in last["findings"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r", "\n=", " =", "\uff1d"])
def test_no_cell_is_a_formula(start):
    bad = f"{start}HYPERLINK(1)"
    assert record_formats.safe(bad) == "'" + bad


def test_policies_cannot_inject_a_formula():
    purposes = shipped()["purposes.toml"].replace('owner = "Finance"', "owner = \"=cmd|' /C calc'!A0\"")
    owners = {row["owner"] for row in rows(make(purposes_toml=purposes))}
    assert "'=cmd|' /C calc'!A0" in owners


@given(st.text())
def test_no_cell_begins_like_a_formula(text):
    cell = record_formats.safe(text)
    assert not cell.lstrip(" ").startswith(record_formats.FORMULA)
    assert cell.removeprefix("'") == text.removeprefix("'")
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow([cell])
    assert next(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [cell]


def test_the_markdown_has_a_section_for_each_purpose_and_the_findings_last():
    record = make(read())
    text = record_formats.write_markdown(record)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == [activity.title for activity in record.activities] + ["Security measures", "Findings"]
    assert "| web-shop | unknown, not named | 1 | 1 | 2026-03-05 | 2026-03-05 | `email` |" in text
    assert "| Data protection officer | Data Protection Officer, dpo@retail.example |" in text
    assert "| Transfers to third countries | none declared |" in text


def test_every_markdown_table_row_has_all_cells():
    purposes = shipped()["purposes.toml"].replace('owner = "Finance"', 'owner = "Finance | <b>Books</b> [x](y)"')
    text = record_formats.write_markdown(make(read(), purposes_toml=purposes))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert r"Finance \| \<b\>Books\</b\> \[x\](y)" in text


def test_a_policy_folder_without_a_controller_has_a_finding():
    record = make(controller_toml=None)
    assert record.controller is None
    assert record.findings[0].code == "controller-unstated"
    assert "| Controller | not stated |" in record_formats.write_markdown(record)
    assert rows(record)[-1]["findings"].startswith("The policies do not name the controller")
