"""A full erasure: what remains, and how the API, lists and searches answer afterwards."""

from __future__ import annotations

from tests.erasure.people import LATELY, LONG_AGO, certificate, erase, keys_of, rows_of, somebody, state_of
from tests.imports.files import PURCHASES, bring_in, write_csv
from tests.vaults import ADA, problem


async def test_a_subject_without_legal_obligations_is_erased_completely(node):
    subject = await somebody(node)
    before = await node.pseudonym(subject)
    request = await erase(node, subject)
    assert await state_of(node, subject) == "erased"
    assert await keys_of(node, subject) == []
    for table in ("record", "blind_index", "external_ref"):
        assert await rows_of(node, table, subject) == 0
    assert await node.pseudonym(subject) != before
    problem(await node.read("dpo", subject, ["name"], "subject-rights"), 404, "subject-not-found")
    answer = await certificate(node, request)
    assert answer["kept"] == []
    assert {line["field"] for line in answer["erased"]} == {f"profile.{name}" for name in (*ADA, "external_ids")}
    assert answer["keys_destroyed"] == 1
    assert answer["check"]["found"] == 0


async def test_a_value_kept_by_law_is_readable_only_for_that_purpose(node):
    subject = await somebody(node, bought=[LATELY])
    await erase(node, subject)
    assert await state_of(node, subject) == "retained"
    assert await keys_of(node, subject) == [2]
    books = await node.read("finance", subject, ["name", "purchase.amount"], "accounting")
    assert books.json()["fields"]["name"] == ADA["name"]
    problem(await node.read("sales", subject, ["name"], "order-fulfilment"), 404, "subject-not-found")
    problem(await node.read("finance", subject, ["email"], "fraud-prevention"), 404, "subject-not-found")
    own = await node.read("dpo", subject, ["name", "email", "birth_date"], "subject-rights")
    assert own.json()["fields"] == {"name": ADA["name"]}


async def test_a_value_past_its_legal_period_is_erased(node):
    subject = await somebody(node, bought=[LONG_AGO])
    await erase(node, subject)
    assert await state_of(node, subject) == "erased"


async def test_a_kept_value_can_be_corrected_and_no_values_can_be_added(node):
    subject = await somebody(node, bought=[LATELY])
    await erase(node, subject)
    purpose = "subject-rights"
    corrected = await node.patch("dpo", subject, {"name": "Ada King"}, purpose, '"2"')
    assert corrected.status_code == 200, corrected.text
    problem(await node.patch("dpo", subject, {"email": "new@example.org"}, purpose, '"3"'), 404, "subject-not-found")
    assert await rows_of(node, "blind_index", subject) == await rows_of(node, "external_ref", subject) == 0
    books = await node.read("finance", subject, ["name"], "accounting")
    assert books.json()["fields"] == {"name": "Ada King"}


async def test_kept_data_is_not_found_by_external_id(node, tmp_path):
    subject = await somebody(node)
    file = write_csv(tmp_path / "purchases.csv", "customer,line,at,amount", "4711,line-1,2026-02-01,12.90")
    await bring_in(node, file, PURCHASES)
    await erase(node, subject)
    assert await state_of(node, subject) == "retained"
    assert {row[0] for row in await node.sql("SELECT external_digest FROM record")} == {None}
