"""Evidence is there for the hold's own purpose to the end of the hold, whole, and nothing else is there by it."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from tests.erasure.people import LATELY, erase, somebody, state_of
from tests.holds.holding import go_on, hold_of, lift
from tests.rectification.submitting import notices
from tests.retention.ended import generalised
from tests.sweep.people import go_to, swept, there
from tests.vaults import ADA, problem
from vault.catalogue.model import Scope
from vault.crypto.seal import record_aad
from vault.ids import DEFAULT_TENANT
from vault.subjects.rows import pack, unpack

FULFILMENT = "order-fulfilment"


async def shown(node, subject, *names, purpose="legal-claims", role="dpo"):
    answer = await node.read(role, subject, list(names), purpose)
    assert answer.status_code == 200, answer.text
    return answer.json()["fields"]


async def test_held_value_outlives_its_own_expiry(node, clock):
    subject = await node.create()
    fields = {"channel": "email", "body": "Where is my order?"}
    ends = {"expires_at": "2026-06-30T00:00:00Z"}
    created = await node.append("support", subject, "interaction", fields, "customer-support", **ends)
    assert created.status_code == 201, created.text
    hold = await hold_of(node, subject)
    go_to(clock, date(2026, 7, 1))
    await swept(node)
    body = "interaction.body"
    assert await shown(node, subject, body) == {body: [fields["body"]]}
    asked = {"fields": ["body"], "purpose": "legal-claims"}
    page = await node.post("dpo", f"/v1/subjects/{subject}/records/interaction:read", asked)
    assert [result["fields"] for result in page.json()["results"]] == [{"body": fields["body"]}]
    asked = {"fields": [body], "purpose": "legal-claims", "subject": subject}
    answer = await node.post("dpo", "/v1/decisions:explain", asked)
    assert answer.json()["fields"][body]["allowed"], answer.text
    own = await node.read("dpo", subject, [body], "subject-rights")
    assert own.json()["denied"][body]["code"] == "retention-over"
    await lift(node, hold)
    await swept(node)
    assert body not in await there(node, subject)


async def test_held_value_of_an_erased_subject_outlives_the_law(node, clock):
    subject = await somebody(node, bought=["2016-06-30T12:00:00Z"])
    await hold_of(node, subject)
    await erase(node, subject)
    assert await state_of(node, subject) == "retained"
    go_to(clock, date(2026, 7, 1))
    await swept(node)
    assert await shown(node, subject, "purchase.order", "name") == {
        "purchase.order": ["order-0"],
        "name": ADA["name"],
    }


async def test_hold_opens_no_other_value_of_an_erased_subject(node):
    subject = await somebody(node, bought=[LATELY])
    await hold_of(node, subject, fields=["email"], also_for=[FULFILMENT])
    await erase(node, subject)
    assert await state_of(node, subject) == "retained"
    assert await shown(node, subject, "email", "name", "purchase.order") == {"email": ADA["email"]}
    ask = ("email", "name", "purchase.order")
    assert await shown(node, subject, *ask, purpose=FULFILMENT, role="sales") == {"email": ADA["email"]}
    books = await shown(node, subject, "name", "purchase.order", purpose="accounting", role="finance")
    assert books == {"name": ADA["name"], "purchase.order": ["order-0"]}
    listed = {"fields": ["order"], "purpose": "order-fulfilment"}
    page = await node.post("sales", f"/v1/subjects/{subject}/records/purchase:read", listed)
    assert [result["fields"] for result in page.json()["results"]] == [{}]


async def generalise(node, subject):
    async with node.services.data.transaction() as connection:
        from sqlalchemy import select, update

        from vault.subjects.tables import RECORD

        wanted = (RECORD.c.subject_id == UUID(subject)) & (RECORD.c.collection == "profile")
        row = (await connection.execute(select(RECORD).where(wanted))).one()
        keys = (await node.services.keyring.subject_keys(DEFAULT_TENANT, [UUID(subject)]))[UUID(subject)]
        where = record_aad(DEFAULT_TENANT, UUID(subject), "profile", row.id)
        body = generalised("birth_date", "year", b"1985")(
            unpack(row.body), lambda name, plain: keys.seal(name, plain, where)
        )
        await connection.execute(update(RECORD).where(wanted).values(body=pack(body, None)))


async def test_held_view_is_erased_after_the_hold_is_lifted(node):
    subject = await somebody(node)
    await generalise(node, subject)
    hold = await hold_of(node, subject)
    await erase(node, subject, scope=Scope(fields=("profile.birth_date", "profile.phone")))
    assert {"profile.birth_date.year", "profile.phone"} <= (await there(node, subject)).keys()
    await lift(node, hold)
    assert len(await go_on(node)) == 1
    assert not {"profile.birth_date.year", "profile.phone"} & (await there(node, subject)).keys()


async def test_held_view_is_not_overwritten(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    await generalise(node, subject)
    hold = await hold_of(node, subject, fields=["birth_date"])
    for change in (None, "1990-01-02"):
        problem(await node.patch("sales", subject, {"birth_date": change}, FULFILMENT, '"1"'), 409, "held")
    assert (await there(node, subject))["profile.birth_date.year"] == [1985]
    await lift(node, hold)
    assert (await node.patch("sales", subject, {"birth_date": None}, FULFILMENT, '"1"')).status_code == 200


async def test_held_external_ids_are_not_removed(sqlite_node):
    node = sqlite_node
    subject = await node.create(external_ids={"shop": "4711"})
    await hold_of(node, subject)
    for change in ({"external_ids": None}, {"external_ids": {}}, {"external_ids": {"shop": None}}):
        done = await node.patch("sales", subject, change, FULFILMENT, '"1"')
        assert done.status_code in {200, 409, 422}, done.text
    assert (await there(node, subject))["profile.external_ids"] == [{"shop": "4711"}]


async def test_held_values_are_not_used_to_find_duplicates(sqlite_node):
    node = sqlite_node
    one, other = await node.create(), await node.create()
    hold = await hold_of(node, one, fields=["email"])

    async def found():
        answer = await node.post("dpo", f"/v1/subjects/{other}:duplicates")
        return [result["matched"] for result in answer.json()["results"]]

    (before,) = await found()
    assert "email" not in before
    assert "phone" in before
    await lift(node, hold)
    (after,) = await found()
    assert "email" in after


async def test_subjects_with_generalised_values_are_merged_and_erased(node):
    one, other = await somebody(node), await somebody(node, profile={"name": "Ada"}, external_ids={"shop": "12"})
    await generalise(node, one)
    body = {"survivor": other, "duplicate": one, "evidence": "ticket 4711"}
    async with node.new_entries() as entries:
        assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    assert "profile.birth_date.year" in entries[-1].fields
    assert (await there(node, other))["profile.birth_date.year"] == [1985]
    async with node.new_entries() as entries:
        await erase(node, other)
    assert "profile.birth_date.year" in next(entry for entry in entries if entry.action == "erase").fields
    assert await state_of(node, other) == "erased"


async def test_recipients_of_the_value_are_notified_of_the_erased_view(sqlite_node):
    node = sqlite_node
    subject = await somebody(node)
    assert (await node.read("finance", subject, ["birth_date"], "fraud-prevention")).status_code == 200
    await generalise(node, subject)
    request = await erase(node, subject, scope=Scope(fields=("profile.birth_date",)))
    assert await notices(node, request) == {("subject.erased", ("profile.birth_date",))}


async def test_repeated_write_keeps_source_and_date_of_a_held_value(node, clock):
    subject = await node.create()

    async def origin(name):
        statement = "SELECT body FROM record WHERE collection = 'profile' AND subject_id = :id"
        ((body,),) = await node.sql(statement, id=UUID(subject))
        return unpack(bytes(body))[name].source, unpack(bytes(body))[name].collected_at

    before = await origin("phone")
    hold = await hold_of(node, subject, fields=["phone"])
    clock.advance(days=1)
    same = {"phone": ADA["phone"], "name": "Ada King"}
    assert (await node.patch("support", subject, same, "customer-support", '"1"')).status_code == 200
    assert await origin("phone") == before
    assert (await origin("name"))[0] == "support"
    assert await shown(node, subject, "phone") == {"phone": ADA["phone"]}
    await lift(node, hold)
    assert (await node.patch("support", subject, same, "customer-support", '"2"')).status_code == 200
    assert (await origin("phone"))[0] == "support"


async def test_ended_value_is_swept_after_the_hold_is_lifted(node, clock):
    subject = await node.create({"name": "Ada", "email": ADA["email"]})
    hold = await hold_of(node, subject, fields=["email"])
    clock.advance(days=365 * 4)
    await swept(node)
    shown = await node.read("dpo", subject, ["email", "name"], "legal-claims")
    assert shown.json()["fields"] == {"email": ADA["email"]}
    refused = await node.read("sales", subject, ["email"], "order-fulfilment")
    assert refused.json()["denied"]["email"]["code"] == "held"
    assert (await swept(node)).whole == 0
    await lift(node, hold)
    assert (await swept(node)).whole == 1  # on the same day
    assert await state_of(node, subject) == "erased"
    problem(await node.read("dpo", subject, ["email"], "legal-claims"), 404, "subject-not-found")
