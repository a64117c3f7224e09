"""After a merge no value is sealed under the duplicate's key or stored in clear."""

from __future__ import annotations

from uuid import UUID

from tests.merging.test_merge import buy, merge, purchases, read
from tests.merging.test_merge_consents import say
from vault.consent.model import decode
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen
from vault.ids import SubjectId
from vault.subjects.rows import open_body

CANARY = "KanarienvogelXq7"
KEPT = {"name": "Ada Lovelace"}
THEIRS = {"name": CANARY, "email": f"{CANARY}@example.org", "address": {"street": CANARY, "city": "B", "country": "DE"}}


async def blobs(node):
    """Collect every sealed value in the main database, with the places for which it may be sealed."""
    results = []
    for (body,) in await node.sql("SELECT body FROM record"):
        results += list(open_body(bytes(body)).values.items())
    for (body,) in await node.sql("SELECT body FROM consent_event"):
        evidence = decode(bytes(body)).evidence
        results += [] if evidence is None else [("evidence", evidence)]
    return results


async def everywhere(node, subjects):
    """List every place for which a value of these subjects could be sealed."""
    rows = await node.sql("SELECT collection, id FROM record UNION ALL SELECT 'consent', id FROM consent_event")
    records = {(row[0], UUID(bytes=row[1]) if isinstance(row[1], bytes) else UUID(str(row[1]))) for row in rows}
    records |= {("profile", UUID(subject)) for subject in subjects}
    return [
        record_aad("default", UUID(subject), collection, record)
        for subject in subjects
        for collection, record in records
    ]


def opens(keys, places, name, sealed):
    for where in places:
        try:
            keys.open(name, sealed, where)
        except CannotOpen:
            continue
        return True
    return False


async def test_no_value_remains_under_the_duplicates_key(node):
    survivor, duplicate = await node.create(dict(KEPT)), await node.create(THEIRS)
    await buy(node, duplicate)
    await say(node, duplicate, evidence=CANARY)
    who = SubjectId(UUID(duplicate))
    its = (await node.services.keyring.subject_keys((await node.caller("dpo")).tenant, [who]))[who]
    places = await everywhere(node, [survivor, duplicate])
    before = await blobs(node)
    assert sum(opens(its, places, name, sealed) for name, sealed in before) >= len(THEIRS) + 3
    assert (await merge(node, survivor, duplicate)).status_code == 201
    places = await everywhere(node, [survivor, duplicate])
    after = await blobs(node)
    assert len(after) >= 6
    assert not any(opens(its, places, name, sealed) for name, sealed in after)
    mine = SubjectId(UUID(survivor))
    keys = (await node.services.keyring.subject_keys((await node.caller("dpo")).tenant, [mine]))[mine]
    assert all(opens(keys, places, name, sealed) for name, sealed in after)


async def test_no_value_is_in_plain_text(node):
    survivor, duplicate = await node.create(dict(KEPT)), await node.create(THEIRS)
    await say(node, duplicate, evidence=CANARY)
    answer = await merge(node, survivor, duplicate, evidence=f"{CANARY} said so")
    assert answer.status_code == 201
    assert CANARY not in answer.text
    for table in ("subject", "record", "external_ref", "blind_index", "subject_alias", "consent_event", "audit_entry"):
        for row in await node.sql(f"SELECT * FROM {table}"):
            assert not any(CANARY.encode() in _bytes(cell) for cell in row), table


async def test_copies_of_the_old_rows_do_not_open_without_the_key(node):
    """A restored backup of the main database from before the merge reveals nothing of the duplicate."""
    survivor, duplicate = await node.create(dict(KEPT)), await node.create(THEIRS)
    it = UUID(duplicate)
    rows = await node.sql("SELECT * FROM record WHERE subject_id = :id", id=it)
    await merge(node, survivor, duplicate)
    columns = rows[0]._fields
    values = ", ".join(f":{name}" for name in columns)
    await node.sql(f"INSERT INTO record ({', '.join(columns)}) VALUES ({values})", **dict(rows[0]._mapping))
    await node.set_state(duplicate, "active")
    answer = await node.read("dpo", duplicate, ["name"], "subject-rights")
    assert (answer.status_code, answer.json()["code"]) == (404, "subject-not-found")
    assert await read(node, survivor, "name") == KEPT
    assert await purchases(node, survivor) == []


def _bytes(cell):
    return bytes(cell) if isinstance(cell, (bytes, memoryview)) else str(cell).encode()
