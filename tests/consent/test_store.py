"""Events and the state on the subject's row are written together, and can be compared."""

from __future__ import annotations

from uuid import UUID

import pytest

from vault.consent.model import Event, fold, pack, unpack
from vault.consent.store import append_events, compare, count_by_notice, repair
from vault.errors import NotFound
from vault.ids import DEFAULT_TENANT, SubjectId, new_id
from vault.subjects.store import SubjectQuery

P = "direct-marketing"


def event(node, subject, kind, **facts):
    now = node.services.clock.now()
    given = {"purpose": None if kind.startswith("restrict") else P, "notice": "marketing@3", "method": "checkbox"}
    return Event(
        id=new_id(), subject=UUID(subject), kind=kind, by="subject", occurred_at=now, recorded_at=now, **given | facts
    )


async def append(node, subject, *events):
    async with node.services.data.transaction() as connection:
        return await append_events(node.services, connection, DEFAULT_TENANT, SubjectId(UUID(subject)), events)


async def found(node, subject):
    (item,) = await node.services.subjects.find(SubjectQuery(DEFAULT_TENANT, (SubjectId(UUID(subject)),), profile=True))
    return item


async def differences(node):
    steps = [step async for step in compare(node.services, DEFAULT_TENANT)]
    return sum(step.people for step in steps), [difference for step in steps for difference in step.differences]


async def test_append_updates_the_state_on_the_subject_row(node):
    ada = await node.create()
    assert (await found(node, ada)).standing is None
    events = [event(node, ada, "given"), event(node, ada, "restricted")]
    state = await append(node, ada, *events)
    after = await found(node, ada)
    assert unpack(after.standing) == state == fold(events)
    assert after.state == "restricted"
    assert (await node.services.consents.history(DEFAULT_TENANT, SubjectId(UUID(ada)))).events == events[::-1]
    await append(node, ada, event(node, ada, "restriction-lifted"))
    assert (await found(node, ada)).state == "active"


async def test_events_and_state_are_written_atomically(node):
    ada = await node.create()
    with pytest.raises(LookupError):
        async with node.services.data.transaction() as connection:
            subject = SubjectId(UUID(ada))
            await append_events(node.services, connection, DEFAULT_TENANT, subject, [event(node, ada, "given")])
            raise LookupError
    assert (await found(node, ada)).standing is None
    assert (await node.services.consents.history(DEFAULT_TENANT, SubjectId(UUID(ada)))).events == []


async def test_unknown_and_erased_subjects_are_refused(node):
    ada = await node.create()
    await node.set_state(ada, "erased")
    for subject in (ada, str(new_id())):
        with pytest.raises(NotFound):
            await append(node, subject, event(node, subject, "given"))


async def test_an_event_is_found_only_for_its_subject(node):
    ada, charles = await node.create(), await node.create()
    given = event(node, ada, "given")
    await append(node, ada, given)
    consents = node.services.consents
    assert await consents.event(DEFAULT_TENANT, SubjectId(UUID(ada)), given.id) == given
    for subject, wanted in ((charles, given.id), (ada, new_id())):
        with pytest.raises(NotFound) as caught:
            await consents.event(DEFAULT_TENANT, SubjectId(UUID(subject)), wanted)
        assert caught.value.code == "consent-event-not-found"


async def test_the_history_comes_in_pages(node):
    ada = await node.create()
    events = [event(node, ada, kind) for kind in ("given", "withdrawn") * 5]
    await append(node, ada, *events)
    seen, before = [], None
    while True:
        page = await node.services.consents.history(DEFAULT_TENANT, SubjectId(UUID(ada)), before=before, limit=3)
        seen += page.events
        before = page.next
        if before is None:
            break
    assert seen == events[::-1]


async def test_a_row_that_differs_from_the_events_is_found_and_repaired(node):
    people = [await node.create() for _ in range(4)]
    for item in people:
        await append(node, item, event(node, item, "given"))
    assert await differences(node) == (4, [])
    forged = pack(fold([event(node, people[1], "withdrawn")]))
    await node.set_subject(people[1], standing=forged)
    await node.set_subject(people[2], standing=None)
    await node.set_state(people[3], "restricted")
    counted, wrong = await differences(node)
    assert counted == 4
    assert {str(person.subject) for person in wrong} == set(people[1:])
    async with node.services.data.transaction() as connection:
        for item in wrong:
            await repair(node.services, connection, DEFAULT_TENANT, item.subject)
    assert await differences(node) == (4, [])
    assert (await found(node, people[3])).state == "active"


async def test_people_are_counted_by_notice_version(node):
    for notice, kind in (
        ("marketing@2", "given"),
        ("marketing@3", "given"),
        ("marketing@3", "withdrawn"),
        (None, "refused"),
    ):
        ada = await node.create()
        await append(node, ada, event(node, ada, "given", notice=notice), event(node, ada, kind, notice=notice))
    over = await node.create()
    await append(node, over, event(node, over, "given", valid_until=node.services.clock.now()))
    await node.create()
    assert await count_by_notice(node.services, DEFAULT_TENANT, P) == {"marketing@2": 1, "marketing@3": 1}
