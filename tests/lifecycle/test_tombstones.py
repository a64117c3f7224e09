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


KNOWN = {
    "name": "Ada King Lovelace",
    "email": "ada@faß.de",
    "phone": "+442079460123",
    "birth_date": "1985-12-10",
    "given_name": "Ada",
    "family_name": "Lovelace",
}
COMES_BACK = {
    "phone": {"phone": "+44 20 7946 0123"},
    "subaddress": {"email": "Ada+shop@faß.de"},
    "name and birth": {"name": "LOVELACE  Ada King", "birth_date": "1985-12-10"},
    "given and family name and birth": {"name": "Lovelace Ada", "birth_date": "1985-12-10"},
}
STAYS_OUT = {
    "another domain by IDNA 2008": {"email": "ada@fass.de"},
    "a namesake": {"name": "Ada King Lovelace", "birth_date": "1985-12-11"},
    "the day alone": {"name": "Grace Hopper", "birth_date": "1985-12-10"},
}


@pytest.fixture
async def erased_fully(node):
    subject = await node.create_fully(**KNOWN)
    await erase(node, subject)
    return subject


@pytest.mark.parametrize("profile", COMES_BACK.values(), ids=COMES_BACK)
async def test_an_erased_person_comes_back_by_no_door(node, erased_fully, profile, tmp_path):
    """A change of one value counts with those that stay: the name was there before the date of birth came."""
    for count in range(1, len(profile) + 1):
        first = dict(list(profile.items())[: count - 1])
        other = await node.create_fully(**{"name": "Somebody Else", **first})
        revision = (await node.call("dpo", "GET", f"/v1/subjects/{other}")).headers["etag"]
        change = dict(list(profile.items())[count - 1 :])
        problem(await node.patch("dpo", other, change, "subject-rights", revision), 409, "erased-before")
    header = ",".join(["no", *profile])
    path = tmp_path / "people.csv"
    path.write_text("\n".join([header, ",".join(["77", *profile.values()])]), encoding="utf-8")
    fields = "\n".join(f'{name} = "{name}"' for name in profile)
    watcher = Faults()
    mapping = f'purpose = "subject-rights"\n[external_ids]\nshop = "no"\n[fields]\n{fields}\n'
    await bring_in(node, path, mapping, watcher=watcher)
    assert [fault.code for fault in watcher.faults] == ["erased-before"]
    path = f"/v1/subjects/{other}/profile?purpose=subject-rights&returning=true"
    async with node.new_entries() as entries:
        done = await node.call("dpo", "PATCH", path, change, headers={"If-Match": revision})
    assert done.status_code == 200, done.text
    assert [(each.action, each.code) for each in entries] == [("update", "returning")]


async def test_an_import_counts_what_stays_of_a_person(node, erased_fully, tmp_path):
    known = await node.create({"name": "Ada King Lovelace"}, external_ids={"shop": "3"})
    path = tmp_path / "people.csv"
    path.write_text("no,born\n3,1985-12-10", encoding="utf-8")
    watcher = Faults()
    mapping = 'purpose = "subject-rights"\n[external_ids]\nshop = "no"\n[fields]\nbirth_date = "born"\n'
    await bring_in(node, path, mapping, watcher=watcher)
    assert [(fault.line, fault.code) for fault in watcher.faults] == [(2, "erased-before")]
    assert await keys_of(node, known) == [1]


@pytest.mark.parametrize("profile", STAYS_OUT.values(), ids=STAYS_OUT)
async def test_another_person_is_not_taken_for_the_erased_one(node, erased_fully, profile):
    await node.create_fully(**{"name": "Somebody Else", **profile})


@pytest.mark.parametrize("verb", ["", ":upsert"])
async def test_a_telephone_number_alone_is_enough_at_the_first_door(node, erased_fully, verb):
    made = body({"name": "A", "phone": "+442079460123"}, {"shop": "9"})
    problem(await node.post("sales", f"/v1/subjects{verb}", made), 409, "erased-before")
    async with node.new_entries() as entries:
        again = await node.post("sales", f"/v1/subjects{verb}", {**made, "returning": True})
    assert again.status_code == 201, again.text
    assert ("create", "returning") in [(each.action, each.code) for each in entries]


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
    assert {row[1] for row in rows} == {"email", "external-id", "mailbox", "phone", "name-and-born"}
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
