"""Somebody is erased as a whole: what is left, and what each door then says."""

from __future__ import annotations

from tests.erasure.people import LATELY, LONG_AGO, certificate, erase, keys_of, rows_of, somebody, state_of
from tests.imports.files import PURCHASES, bring_in, write_csv
from tests.vaults import ADA, problem


async def test_of_somebody_of_whom_no_law_keeps_anything_nothing_is_left(node):
    subject = await somebody(node)
    before = await node.pseudonym(subject)
    request = await erase(node, subject)
    assert await state_of(node, subject) == "erased"
    assert await keys_of(node, subject) == []
    for table in ("record", "blind_index", "external_ref"):
        assert await rows_of(node, table, subject) == 0
    assert await node.pseudonym(subject) != before
    problem(await node.read("dpo", subject, ["name"], "subject-rights"), 404, "subject-not-found")
    told = await certificate(node, request)
    assert told["kept"] == []
    assert {line["field"] for line in told["erased"]} == {f"profile.{name}" for name in (*ADA, "external_ids")}
    assert told["keys_destroyed"] == 1
    assert told["check"]["found"] == 0


async def test_what_a_law_keeps_stays_for_that_purpose_and_nobody_else(node):
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


async def test_what_is_older_than_the_law_asks_for_is_kept_for_nobody(node):
    subject = await somebody(node, bought=[LONG_AGO])
    await erase(node, subject)
    assert await state_of(node, subject) == "erased"


async def test_what_is_kept_is_corrected_and_nothing_comes_to_it(node):
    subject = await somebody(node, bought=[LATELY])
    await erase(node, subject)
    purpose = "subject-rights"
    corrected = await node.patch("dpo", subject, {"name": "Ada King"}, purpose, '"2"')
    assert corrected.status_code == 200, corrected.text
    problem(await node.patch("dpo", subject, {"email": "new@example.org"}, purpose, '"3"'), 404, "subject-not-found")
    assert await rows_of(node, "blind_index", subject) == await rows_of(node, "external_ref", subject) == 0
    books = await node.read("finance", subject, ["name"], "accounting")
    assert books.json()["fields"] == {"name": "Ada King"}


async def test_by_no_id_of_another_system_is_found_what_is_kept(node, tmp_path):
    subject = await somebody(node)
    file = write_csv(tmp_path / "purchases.csv", "customer,line,at,amount", "4711,line-1,2026-02-01,12.90")
    await bring_in(node, file, PURCHASES)
    await erase(node, subject)
    assert await state_of(node, subject) == "retained"
    assert {row[0] for row in await node.sql("SELECT external_digest FROM record")} == {None}
