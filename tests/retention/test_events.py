"""Events that start and stop clocks, and the relationship of a subject to the company, on both databases."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from tests.erasure.people import buy, erase
from tests.vaults import problem

TODAY = "2026-03-05"


async def record(node, subject, event, on=None, *, role="dpo", **how):
    body = {"event": event} | ({} if on is None else {"on": on})
    return await node.post(role, f"/v1/subjects/{subject}/retention-events", body, **how)


async def stands(node, subject):
    answer = await node.call("dpo", "GET", f"/v1/subjects/{subject}/relationship")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_event_moves_its_clock_forward_only(node):
    subject = await node.create()
    for on, status, now in (
        ("2025-03-31", 201, "2025-03-31"),
        ("2025-03-31", 200, "2025-03-31"),
        ("2024-12-31", 200, "2025-03-31"),
        (None, 201, TODAY),
        ("2025-03-31", 200, TODAY),
    ):
        answer = await record(node, subject, "contract-ended", on)
        assert (answer.status_code, answer.json()) == (
            status,
            {"event": "contract-ended", "on": now, "moved": status == 201},
        )
    assert (await stands(node, subject))["events"] == {"contract-ended": TODAY}


async def test_future_event_is_refused(node):
    subject = await node.create()
    answer = problem(await record(node, subject, "claim-opened", "2026-03-06"), 422, "event-in-future")
    assert answer["errors"][0]["at"] == "/on"
    problem(await record(node, subject, "moved-house"), 422, "invalid-body")
    assert (await stands(node, subject))["events"] == {}


async def test_contract_runs_from_its_beginning_to_its_end(node):
    subject = await node.create()
    steps = (
        ("contract-began", "2020-01-01", ["contract"]),
        ("claim-opened", "2021-01-01", ["contract", "claim"]),
        ("contract-ended", "2022-01-01", ["claim"]),
        ("contract-began", "2022-01-01", ["claim", "contract"]),  # the next one, on the day that the last one ended
        ("claim-closed", "2023-01-01", ["contract"]),
        ("contract-ended", "2022-01-01", []),  # which ends on that day too
    )
    for event, on, running in steps:
        assert (await record(node, subject, event, on)).status_code == 201, event
        assert sorted((await stands(node, subject))["running"]) == sorted(running), event


async def test_audit_entry_names_the_event_and_not_the_day(node):
    subject = await node.create()
    pseudonym = await node.pseudonym(subject)
    async with node.new_entries() as new_entries:
        await record(node, subject, "relationship-ended", "2024-05-06")
        await stands(node, subject)
    assert [(item.action, item.decision, item.code, item.subjects) for item in new_entries] == [
        ("record-event", "allowed", "relationship-ended", (pseudonym,)),
        ("read-retention", "allowed", None, (pseudonym,)),
    ]
    assert "2024-05-06" not in repr(new_entries)


async def test_caller_without_permission_is_denied(node):
    subject = await node.create()
    for role in ("support", "marketing", "stranger"):
        problem(await record(node, subject, "contract-ended", role=role), 403, "not-granted")
        answer = await node.call(role, "GET", f"/v1/subjects/{subject}/relationship")
        problem(answer, 403, "not-granted")
    problem(await record(node, subject, "contract-ended", role="operator"), 403, "not-granted")
    assert (await node.call("operator", "GET", f"/v1/subjects/{subject}/relationship")).status_code == 200


async def test_unknown_and_erased_subjects_are_not_found(node):
    subject = await node.create(external_ids={"shop": "4711"})
    await buy(node, subject)
    await erase(node, subject)
    for whom in (subject, uuid4()):
        problem(await record(node, whom, "contract-ended"), 404, "subject-not-found")
        answer = await node.call("dpo", "GET", f"/v1/subjects/{whom}/relationship")
        problem(answer, 404, "subject-not-found")


async def test_event_of_a_merged_subject_names_the_survivor(node):
    survivor, duplicate = await node.create(), await node.create({"name": "A. Lovelace"})
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "ticket 4711"}
    await node.post("dpo", "/v1/subjects:merge", body)
    answer = await record(node, duplicate, "contract-ended")
    assert (answer.status_code, answer.json()["code"]) == (404, "subject-merged")
    assert answer.json()["merged_into"] == survivor


async def test_idempotency_key_repeats_the_answer(node):
    subject = await node.create()
    how = {"headers": {"Idempotency-Key": "4711"}}
    first, again = [await record(node, subject, "claim-closed", **how) for _time in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (201, again.json())
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_concurrent_events_leave_the_later_day(place, clock):
    async with place.node(clock) as one, place.node(clock) as other:
        subject = await one.create()
        days = [f"2025-{month:02d}-01" for month in (4, 9, 2, 7)]
        created = await asyncio.gather(
            *(record([one, other][n % 2], subject, "contract-ended", day) for n, day in enumerate(days))
        )
        assert {item.status_code for item in created} <= {200, 201}
        assert (await stands(other, subject))["events"] == {"contract-ended": "2025-09-01"}


async def test_prospect_becomes_customer_and_former_customer(node, clock):
    subject = await node.create()
    clock.advance(days=40)
    result = await stands(node, subject)
    assert (result["state"], result["since"], result["last_contact"], result["until"]) == (
        "prospect",
        TODAY,
        None,
        None,
    )
    await buy(node, subject, "2026-04-10T08:00:00Z")
    result = await stands(node, subject)
    assert (result["state"], result["since"], result["last_contact"]) == ("customer", None, "2026-04-10")
    assert result["records"] == {"purchase": "2026-04-10"}
    await record(node, subject, "relationship-ended", "2026-04-12")
    result = await stands(node, subject)
    assert (result["state"], result["since"], result["until"]) == ("former", "2026-04-13", None)
    await record(node, subject, "relationship-resumed", "2026-04-14")
    assert (await stands(node, subject))["state"] == "customer"
