"""A person has their data corrected (Art. 16 GDPR)."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.rectification.submitting import approve, ask, carry_out, listed, moves, notices, run, shown, state, verify
from tests.vaults import problem
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.rectification.correct import rectify
from vault.rectification.store import open_details, rectifications_of
from vault.subjects.rows import unpack
from vault.subjects.tables import RECORD

NEW = "new@example.org"


async def profile(node, subject):
    """Return the profile's values with where they come from."""
    async with node.services.data.reading() as connection:
        rows = await connection.execute(RECORD.select().where(RECORD.c.collection == "profile"))
        (body,) = [row.body for row in rows if row.subject_id == UUID(subject)]
    return unpack(body)


async def details(node, subject):
    """Open what stood there before and after, as the person's own package does."""
    keys = (await node.services.keyring.subject_keys(DEFAULT_TENANT, [UUID(subject)]))[UUID(subject)]
    async with node.services.data.reading() as connection:
        rows = await rectifications_of(connection, DEFAULT_TENANT, SubjectId(UUID(subject)))
    return {row.whole: open_details(keys, DEFAULT_TENANT, SubjectId(UUID(subject)), row) for row in rows}


async def test_a_correction_from_receipt_to_completion(node):
    subject = await node.create()
    before = await profile(node, subject)
    await node.read("fulfilment", subject, ["email", "name"], "order-fulfilment")
    request = await ask(node, subject, "rectification", changes={"email": NEW, "salutation": "Countess"})
    assert (await verify(node, request)).state == "in_review"
    assert (await shown(node, subject, "email"))["email"] == "ada@example.org"  # not before it is approved
    node.services.clock.advance(days=2)
    done = await approve(node, request)
    assert (done.state, done.outcome) == ("completed", "done")
    assert await shown(node, subject, "email", "salutation") == {"email": NEW, "salutation": "Countess"}
    after = await profile(node, subject)
    assert (after["email"].source, after["email"].purpose) == ("person", before["email"].purpose)
    assert after["salutation"].purpose == "subject-rights"
    assert after["email"].verified_at == after["email"].collected_at > before["email"].collected_at
    assert after["name"] == before["name"]
    assert await details(node, subject) == {
        "profile.email": {"before": "ada@example.org", "after": NEW},
        "profile.salutation": {"before": None, "after": "Countess"},
    }
    assert {UUID(row["id"]) for row in await listed(node, subject)} == set(done.results)
    assert await notices(node, request) == {("subject.rectified", ("profile.email",))}  # only what it had read


async def test_the_new_value_is_found_and_the_old_one_is_not(node):
    subject = await node.create()
    await carry_out(node, subject, "rectification", changes={"email": NEW})
    for sought, result in ((NEW, [subject]), ("ada@example.org", [])):
        answer = await node.post(
            "dpo", "/v1/subjects:search", {"match": {"email": sought}, "purpose": "subject-rights"}
        )
        assert [item["subject"] for item in answer.json()["results"]] == result


async def test_a_record_is_corrected_and_keeps_its_other_fields(node):
    subject = await node.create()
    sold = {"order": "A-1", "amount": "12.90"}
    bought = (await node.append("sales", subject, "purchase", sold, "order-fulfilment")).json()["id"]
    corrected = {"collection": "purchase", "id": bought, "fields": {"amount": "21.90"}}
    done = await carry_out(node, subject, "rectification", records=[corrected])
    assert done.state == "completed"
    assert await shown(node, subject, "purchase.order", "purchase.amount") == {
        "purchase.order": ["A-1"], "purchase.amount": ["21.90"],
    }  # fmt: skip
    (row,) = await listed(node, subject)
    assert (row["collection"], row["record"], row["field"], row["state"]) == ("purchase", bought, "amount", "corrected")


async def test_a_part_of_an_address_is_corrected(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    await carry_out(node, subject, "rectification", changes={"address": {"street": "5 New Street"}})
    address = (await shown(node, subject, "address"))["address"]
    assert (address["street"], address["city"]) == ("5 New Street", "London")


async def test_a_date_of_birth_that_shows_a_child_ends_consents(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    given = {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox"}
    await node.post("support", f"/v1/subjects/{subject}/consents", given)
    await carry_out(node, subject, "rectification", changes={"birth_date": "2015-01-01"})
    refused = await node.read("marketing", subject, ["email"], "direct-marketing")
    assert problem(refused, 403, "denied")["denied"]["email"]["code"] == "consent-missing"


async def test_an_unchanged_value_is_confirmed(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    done = await carry_out(node, subject, "rectification", changes={"email": "ada@example.org"})
    assert (done.state, done.results) == ("completed", ())
    assert (await profile(node, subject))["email"].verified_at is not None
    assert await notices(node, done.id) == set()


async def test_a_value_is_removed(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    await carry_out(node, subject, "rectification", changes={"phone": None})
    assert "phone" not in await shown(node, subject, "phone", "name")
    assert await details(node, subject) == {"profile.phone": {"before": "+442079460123", "after": None}}


async def test_a_statement_and_a_dispute_are_stored_with_the_data(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    said = {"statement": "I go by my second name.", "dispute": "Never lived there.", "fields": ["address"]}
    done = await carry_out(node, subject, "rectification", **said)
    rows = {row["field"]: (row["state"], row["statement"]) for row in await listed(node, subject)}
    assert rows == {"*": ("stated", said["statement"]), "address": ("disputed", said["dispute"])}
    assert len(done.results) == 2
    assert (await node.call("dpo", "GET", f"/v1/subjects/{subject}")).json()["state"] == "active"


async def test_a_dispute_may_restrict_the_data_at_once(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    await node.read("fulfilment", subject, ["name"], "order-fulfilment")
    done = await carry_out(node, subject, "rectification", dispute="Wrong.", fields=["address"], restrict=True)
    refused = await node.read("fulfilment", subject, ["name"], "order-fulfilment")
    assert problem(refused, 403, "denied")["denied"]["name"]["code"] == "restricted"
    assert await notices(node, done.id) == {("subject.restricted", ("profile.name",))}


async def test_a_correction_needs_a_fresh_proof_of_identity(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    request = await ask(node, subject, "rectification", changes={"email": NEW})
    with pytest.raises(Exception, match="fresh proof"):
        await verify(node, request, level="single")
    await rectify(node.services, DEFAULT_TENANT, request)  # not even where a job were begun by mistake
    assert (await state(node, request)).state == "received"
    assert (await shown(node, subject, "email"))["email"] == "ada@example.org"


async def test_a_repeated_step_has_no_further_effect(node):
    subject = await node.create()
    done = await carry_out(node, subject, "rectification", changes={"email": NEW}, statement="Mind the name.")
    revision = (await node.call("dpo", "GET", f"/v1/subjects/{subject}")).json()["revision"]
    async with node.new_entries() as new_entries:
        await rectify(node.services, DEFAULT_TENANT, done.id)
        await run(node, done.id)
    assert new_entries == []
    assert (await node.call("dpo", "GET", f"/v1/subjects/{subject}")).json()["revision"] == revision
    assert len(await listed(node, subject)) == 2


async def test_a_killed_step_has_no_effect(node, monkeypatch):
    """Values, index, what stood there before, notices, and the note that it was done: all of them, or none."""
    subject = await node.create()
    request = await ask(node, subject, "rectification", changes={"email": NEW, "name": "A. K."})
    await verify(node, request)
    with monkeypatch.context() as patched:
        patched.setattr("vault.rectification.correct.notify_recipients", _killed)
        with pytest.raises(SystemError):
            await approve(node, request)
    assert await listed(node, subject) == []
    assert (await state(node, request)).carried_out is None
    assert (await shown(node, subject, "email"))["email"] == "ada@example.org"
    assert (await run(node, request)).state == "completed"
    assert (await shown(node, subject, "email"))["email"] == NEW


async def _killed(*_args, **_facts):
    raise SystemError


async def test_a_correction_that_became_invalid_goes_back_to_staff(node):
    subject = await node.create()
    gone = {"collection": "purchase", "id": str(uuid4()), "fields": {"amount": "1.00"}}
    request = await ask(node, subject, "rectification", changes={"email": NEW}, records=[gone])
    await verify(node, request)
    assert (await approve(node, request)).state == "in_review"
    assert (await moves(node, request))[-1] == ("hand-back", "record-not-found")
    assert (await shown(node, subject, "email"))["email"] == "ada@example.org"  # nothing by halves


async def test_a_reopened_request_is_carried_out_again(sqlite_node):
    node = sqlite_node
    from vault.requests.decide import reopen_request

    subject = await node.create()
    done = await carry_out(node, subject, "rectification", changes={"email": NEW})
    state_before = await node.call("dpo", "GET", f"/v1/subjects/{subject}")
    await node.patch("dpo", subject, {"email": "x@example.org"}, "subject-rights", state_before.headers["etag"])
    await reopen_request(node.services, await node.caller("dpo"), done.id)
    await verify(node, done.id)
    assert (await approve(node, done.id)).state == "completed"
    assert (await shown(node, subject, "email"))["email"] == NEW
    assert len(await listed(node, subject)) == 2


async def test_no_value_is_stored_or_logged_in_clear(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    request = await carry_out(node, subject, "rectification", changes={"email": NEW}, statement="Zanzibar wording")
    for table in ("rectification", "rights_request", "request_event", "recipient_notice", "record"):
        for row in await node.sql(f"SELECT * FROM {table}"):
            assert not any(word in str(row) for word in (NEW, "Zanzibar", "ada@example.org")), table
    (answer,) = [entry for entry in await node.entries() if entry.action == "rectify"]
    assert (answer.fields, answer.target, answer.purpose) == (("profile.email.clear",), request.id, "subject-rights")
    assert answer.subjects == (await node.pseudonym(subject),)
