"""Ended values that wait for a review: listed, decided, and handled by the next sweep."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.vaults import problem
from vault.ids import DEFAULT_TENANT, new_id
from vault.retention.reviews import (
    NewReview,
    clear_reviews,
    close_reviews,
    fetch_kept_days,
    move_reviews,
    open_reviews,
    reviews_in,
)
from vault.subjects.tables import RECORD

REVIEWS = "/v1/retention/reviews"
LAST = date(2026, 3, 4)
KEEP = {"decision": "keep", "until": "2026-06-30", "reason": "claim"}


def over(subject, *fields, kind="review", collection="profile", record=None):
    place = (UUID(str(subject)), collection, UUID(str(record or subject)))
    return [NewReview(place, field, kind, LAST) for field in fields]


async def opened(node, ended):
    async with node.services.data.transaction() as connection:
        await open_reviews(connection, DEFAULT_TENANT, ended, node.services.clock.now())


async def listed(node, state="open", **params):
    answer = await node.call("dpo", "GET", REVIEWS, params={"state": state, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def decide(node, review, body, role="dpo", **how):
    return await node.post(role, f"{REVIEWS}/{review}:decide", body, **how)


async def due_at(node, subject):
    async with node.services.data.reading() as connection:
        wanted = select(RECORD.c.due_at).where(RECORD.c.subject_id == UUID(subject), RECORD.c.collection == "profile")
        return (await connection.execute(wanted)).scalar_one()


async def test_reviews_are_listed_once_and_without_values(node):
    ada = await node.create()
    await opened(node, over(ada, "name", "birth_date.year"))
    await opened(node, over(ada, "name"))  # the next sweep finds it over as well
    answer = await listed(node)
    assert sorted(review["field"] for review in answer["reviews"]) == ["profile.birth_date.year", "profile.name"]
    assert {(review["subject"], review["state"], review["ended_on"]) for review in answer["reviews"]} == {
        (ada, "open", "2026-03-04")
    }
    assert "Ada" not in str(answer)
    first = await listed(node, limit=1)
    second = await listed(node, limit=1, after=first["next"])
    assert first["reviews"] + second["reviews"] == answer["reviews"]
    assert second["next"] is None


async def test_kept_value_is_reviewed_again_after_its_day(node, clock):
    ada = await node.create()
    await opened(node, over(ada, "name"))
    (review,) = (await listed(node))["reviews"]
    clock.advance(hours=1)
    async with node.new_entries() as entries:
        answer = (await decide(node, review["id"], KEEP)).json()
    assert (answer["state"], answer["keep_until"]) == ("keep", "2026-06-30")
    assert await due_at(node, ada) == clock.now()  # the next sweep looks at the person
    (entry,) = entries
    assert (entry.action, entry.code, entry.fields) == ("decide-review", "keep-claim", ("profile.name",))
    assert entry.subjects == (await node.pseudonym(ada),)
    assert (await listed(node))["reviews"] == []
    assert [item["id"] for item in (await listed(node, "decided"))["reviews"]] == [review["id"]]
    place = over(ada, "name")[0].place
    days = await fetch_kept_days(node.services.data, DEFAULT_TENANT, [UUID(ada)])
    async with node.services.data.reading() as connection:
        result = (await reviews_in(connection, DEFAULT_TENANT, [UUID(ada)]))[place]["name"]
    last = date(2026, 6, 30).toordinal()
    assert days == {place: {"name": last}}
    assert (result.keeps(last), result.keeps(last + 1)) == (True, False)
    await opened(node, over(ada, "name"))
    assert (await listed(node))["reviews"] == []  # decided is decided, until the day is over
    clock.advance(days=118)
    await opened(node, over(ada, "name"))
    (again,) = (await listed(node))["reviews"]
    assert (again["id"], again["keep_until"], again["decided_at"]) == (review["id"], None, None)


async def test_last_decision_counts(node):
    ada = await node.create()
    await opened(node, over(ada, "name"))
    (review,) = (await listed(node))["reviews"]
    assert (await decide(node, review["id"], {"decision": "erase"})).json()["state"] == "erase"
    assert await fetch_kept_days(node.services.data, DEFAULT_TENANT, [UUID(ada)]) == {}
    assert (await decide(node, review["id"], KEEP)).json()["state"] == "keep"
    answer = (await decide(node, review["id"], {"decision": "erase"})).json()
    assert (answer["state"], answer["keep_until"]) == ("erase", None)


@pytest.mark.parametrize(
    "body",
    [
        {"decision": "keep"},
        {"decision": "keep", "until": "2026-03-05", "reason": "claim"},  # today: that is no time
        {"decision": "keep", "until": "2036-03-07", "reason": "claim"},
        {"decision": "keep", "until": "2026-12-31"},
        {"decision": "erase", "reason": "claim"},
        {"decision": "erase", "until": "2026-12-31"},
    ],
)
async def test_incomplete_or_contradictory_decision_is_refused(sqlite_node, body):
    ada = await sqlite_node.create()
    await opened(sqlite_node, over(ada, "name"))
    (review,) = (await listed(sqlite_node))["reviews"]
    problem(await decide(sqlite_node, review["id"], body), 422, "invalid-decision")
    assert len((await listed(sqlite_node))["reviews"]) == 1


async def test_decision_needs_permission_in_the_own_tenant(sqlite_node):
    ada = await sqlite_node.create()
    await opened(sqlite_node, over(ada, "name"))
    (review,) = (await listed(sqlite_node))["reviews"]
    problem(await decide(sqlite_node, review["id"], KEEP, role="operator"), 403, "not-granted")
    problem(await decide(sqlite_node, review["id"], KEEP, tenant="acme"), 404, "review-not-found")
    problem(await decide(sqlite_node, new_id(), KEEP), 404, "review-not-found")
    assert (await sqlite_node.call("dpo", "GET", REVIEWS, tenant="acme")).json()["reviews"] == []
    await sqlite_node.set_state(ada, "erased")
    problem(await decide(sqlite_node, review["id"], KEEP), 404, "subject-not-found")


async def test_idempotency_key_makes_one_decision(sqlite_node):
    ada = await sqlite_node.create()
    await opened(sqlite_node, over(ada, "name"))
    (review,) = (await listed(sqlite_node))["reviews"]
    async with sqlite_node.new_entries() as entries:
        answers = [await decide(sqlite_node, review["id"], KEEP, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert [(entry.action, entry.code) for entry in entries] == [
        ("decide-review", "keep-claim"),
        ("decide-review", "replayed"),
    ]


async def test_reviews_are_closed_with_values_and_moved_with_records(node):
    ada, charles = await node.create(), await node.create()
    sale = new_id()
    of_sale = over(ada, "amount", "order", collection="purchase", record=sale)
    await opened(node, [*over(ada, "name", "email"), *of_sale, *over(charles, "name")])
    async with node.services.data.transaction() as connection:
        await close_reviews(connection, DEFAULT_TENANT, [(of_sale[0].place, ["order"])])
        await move_reviews(connection, DEFAULT_TENANT, of=UUID(ada), to=UUID(charles))
        result = await reviews_in(connection, DEFAULT_TENANT, [UUID(ada), UUID(charles)])
        assert {place: set(fields) for place, fields in result.items()} == {
            (UUID(charles), "profile", UUID(charles)): {"name"},
            (UUID(charles), "purchase", sale): {"amount"},
        }
        await clear_reviews(connection, DEFAULT_TENANT, [UUID(charles)])
        assert await reviews_in(connection, DEFAULT_TENANT, [UUID(charles)]) == {}
