"""A row whose state differs from the events is found and can be repaired."""

from __future__ import annotations

from vault.consent.store import compare, repair_state
from vault.ids import DEFAULT_TENANT

GIVEN = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox",
}  # fmt: skip


async def differing(node):
    return [
        str(difference.subject)
        async for step in compare(node.services, DEFAULT_TENANT)
        for difference in step.differences
    ]


async def test_a_tampered_row_is_found_and_repaired(node):
    one, two = await node.create(), await node.create({"name": "Two"})
    await node.post("support", f"/v1/subjects/{one}/consents", GIVEN)
    await node.post("dpo", f"/v1/subjects/{two}/restriction", {"ground": "claims"})
    assert await differing(node) == []
    given = (await node.sql("SELECT standing FROM subject WHERE standing IS NOT NULL ORDER BY id"))[0][0]
    await node.sql("UPDATE subject SET standing = :given, state = 'active'", given=bytes(given))
    assert await differing(node) == [two]
    (subject,) = [
        difference.subject async for step in compare(node.services, DEFAULT_TENANT) for difference in step.differences
    ]
    async with node.new_entries() as new_entries:
        await repair_state(node.services, DEFAULT_TENANT, subject)
    assert await differing(node) == []
    assert (await node.call("dpo", "GET", f"/v1/subjects/{two}")).json()["state"] == "restricted"
    assert [(entry.action, entry.principal_name) for entry in new_entries] == [("record-consent", "command-line")]
    assert new_entries[0].subjects == (await node.pseudonym(two),)


async def test_event_ids_are_ordered_even_if_clocks_go_back(node, monkeypatch):
    """The event of a node whose clock is ahead must not sort after later events."""
    from vault import ids
    from vault.consent import transaction as change

    subject = await node.create()
    ahead = ids.new_id().int + (3_600_000 << 80)  # an hour
    numbers = iter(range(ahead, ahead + 100))
    monkeypatch.setattr(change, "new_id", lambda: ids.UUID(int=next(numbers)))
    await node.post("support", f"/v1/subjects/{subject}/consents", GIVEN)
    monkeypatch.undo()
    for decision in ("withdrawn", "refused"):
        await node.post(
            "support", f"/v1/subjects/{subject}/consents", {"purpose": "direct-marketing", "decision": decision}
        )
    answer = (await node.call("support", "GET", f"/v1/subjects/{subject}/consents")).json()
    assert [event["kind"] for event in answer["history"]] == ["refused", "withdrawn", "given"]
    assert await differing(node) == []
