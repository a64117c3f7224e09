"""Somebody who was erased does not come back unnoticed: not by a form, not by an import, not by a change."""

from __future__ import annotations

import pytest

from tests.erasure.people import LATELY, erase, keys_of, somebody, state_of
from tests.imports.files import Faults, bring_in
from tests.vaults import ADA, problem

SHOP = {"shop": "4711"}


def body(profile=None, external_ids=None, **more):
    created = {"profile": profile or {"name": "Ada"}, "purpose": "order-fulfilment", **more}
    return created if external_ids is None else {**created, "external_ids": external_ids}


@pytest.fixture
async def erased(node):
    """Somebody known by an address and an id in the shop, erased."""
    subject = await somebody(node, external_ids=SHOP)
    await erase(node, subject)
    return subject


@pytest.mark.parametrize("verb", ["", ":upsert"])
async def test_an_erased_subject_is_not_created_again(node, erased, verb):
    called = body({"name": "Ada", "email_secondary": ADA["email"]}, {"shop": "9"}, purpose="customer-support")
    async with node.new_entries() as entries:
        for role, sent in (
            ("sales", body({"name": "Ada"}, SHOP)),
            ("sales", body({"name": "Ada", "email": "ADA@example.org"}, {"shop": "9"})),
            ("support", called),
        ):
            problem(await node.post(role, f"/v1/subjects{verb}", sent), 409, "erased-before")
    answers = {(entry.action, entry.decision, entry.code) for entry in entries}
    assert (len(entries), answers) == (3, {("create", "failed", "erased-before")})
    assert await node.sql("SELECT id FROM subject WHERE state = 'active'") == []
    assert await node.sql("SELECT 1 FROM data_key", keystore=True) == []


async def test_a_returning_person_is_created_and_the_tombstones_go(node, erased):
    again = await node.post("sales", "/v1/subjects", body({**ADA}, SHOP, returning=True))
    assert again.status_code == 201, again.text
    assert again.json()["id"] != erased
    created = body({"email": ADA["email"]}, SHOP)
    upserted = await node.post("sales", "/v1/subjects:upsert", created)
    assert (upserted.status_code, upserted.json()["id"]) == (200, again.json()["id"])
    assert await node.sql("SELECT 1 FROM tombstone") == []


async def test_another_subject_cannot_get_an_erased_address(node, erased):
    other = await node.create({"name": "Grace"})
    change = {"email": ADA["email"]}
    problem(await node.patch("sales", other, change, "order-fulfilment", '"1"'), 409, "erased-before")
    path = f"/v1/subjects/{other}/profile?purpose=order-fulfilment&returning=true"
    done = await node.call("sales", "PATCH", path, change, headers={"If-Match": '"1"'})
    assert done.status_code == 200, done.text


async def test_other_tenants_know_nothing_of_it(node, erased):
    created = await node.post("sales", "/v1/subjects", body({**ADA}, SHOP), tenant="acme")
    assert created.status_code == 201


async def test_a_retained_subject_has_tombstones_too(node):
    subject = await somebody(node, external_ids=SHOP, bought=[LATELY])
    await erase(node, subject)
    assert await state_of(node, subject) == "retained"
    problem(await node.post("sales", "/v1/subjects:upsert", body({"name": "Ada"}, SHOP)), 409, "erased-before")


async def test_tombstones_do_not_reveal_the_value(node, erased):
    rows = await node.sql("SELECT digest, kind FROM tombstone")
    assert sorted(row[1] for row in rows) == ["email", "external-id"]
    index = await node.services.keyring.index_keys("default")
    from vault.subjects.rows import external_digest

    assert external_digest(index, "shop", "4711") not in {bytes(row[0]) for row in rows}


async def test_an_import_reports_erased_subjects_and_imports_the_others(node, erased, tmp_path):
    known = await node.create({"name": "Joan"}, external_ids={"shop": "3"})
    file = tmp_path / "people.csv"
    lines = [
        "no,name,mail",
        "4711,Ada,",
        "1,Grace,grace@example.org",
        f"2,Ada,{ADA['email']}",
        f"3,Joan,{ADA['email']}",
        "5,Mary,mary@example.org",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    watcher = Faults()
    report = await bring_in(node, file, watcher=watcher)
    assert (report.created, report.updated) == (2, 0)
    assert [(fault.line, fault.code) for fault in watcher.faults] == [
        (2, "erased-before"),
        (4, "erased-before"),
        (5, "erased-before"),
    ]
    assert await keys_of(node, known) == [1]
