"""A value is shown for a purpose up to the last day of the purpose's own claim, and not on the next, at every door."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from tests.retention.ended import KEPT, START, Desk, at, policies
from vault.ids import DEFAULT_TENANT, new_id
from vault.retention import clocks as clock_reader
from vault.retention.reviews import NewReview, open_reviews, reviews_in
from vault.retention.tables import RETENTION_REVIEW
from vault.subjects.rows import open_body, pack

OVER = "retention-over"
SUPPORTED = date(2028, 3, 5)
"""Two years after START: the last day for support, whose period counts from the day a value was collected."""
DELIVERED = date(2029, 3, 5)
"""Three years after START: the last day for fulfilment, as long as nobody bought or wrote anything."""


@pytest.fixture
async def desk(node, clock):
    return await Desk.at(node, clock)


@pytest.fixture
async def sqlite_desk(sqlite_node, clock):
    return await Desk.at(sqlite_node, clock)


def next_day(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


async def test_a_value_is_shown_up_to_the_end_of_its_last_day(desk):
    ada = await desk.person()
    ask = ("support", "customer-support", ["name", "email.masked"], ada)
    desk.on(SUPPORTED, 23, 59)
    assert await desk.read(*ask) == ({"name": "Ada Lovelace", "email.masked": "a•••••@example.org"}, {})
    desk.on(next_day(SUPPORTED))
    assert await desk.read(*ask) == ({}, {"name": OVER, "email.masked": OVER})
    assert (await desk.read("fulfilment", "order-fulfilment", ["name"], ada))[0] == {"name": "Ada Lovelace"}
    (entry,) = [item for item in await desk.node.entries() if item.refused]
    assert entry.refused == {"profile.name.clear": OVER, "profile.email.masked": OVER}


async def test_each_purpose_has_its_own_last_day(sqlite_desk):
    desk = sqlite_desk
    ada = await desk.person()
    desk.on(DELIVERED, 12)
    ask = ("fulfilment", "order-fulfilment", ["name"], ada)
    assert (await desk.read(*ask))[1] == {}
    assert (await desk.read("support", "customer-support", ["name"], ada))[1] == {"name": OVER}
    desk.on(next_day(DELIVERED))
    assert (await desk.read(*ask))[1] == {"name": OVER}
    # Nothing claims the name any more: not even to answer the person is it shown, though no sweep has come by.
    assert (await desk.read("dpo", "subject-rights", ["name"], ada))[1] == {"name": OVER}


async def test_an_order_extends_values_that_count_from_the_last_contact(desk):
    ada = await desk.person()
    await desk.bought(ada, date(2026, 3, 1))
    desk.on(date(2027, 6, 10), 12)
    await desk.bought(ada, date(2027, 6, 10), "A-2")
    ask = ("fulfilment", "order-fulfilment", ["name"], ada)
    desk.on(date(2030, 6, 10), 23)  # three years after the second order
    assert (await desk.read(*ask))[1] == {}
    desk.on(date(2030, 6, 11))
    assert (await desk.read(*ask))[1] == {"name": OVER}
    assert (await desk.read("support", "customer-support", ["name"], ada))[1] == {"name": OVER}  # from the first day on


async def test_the_end_of_a_record_counts_from_the_day_on_which_it_happened(desk):
    ada = await desk.person()
    await desk.bought(ada, date(2026, 1, 10), "old")
    await desk.bought(ada, date(2026, 3, 4), "new")
    orders = ("support", "customer-support", ["purchase.order"], ada)
    desk.on(date(2028, 1, 10), 20)
    assert (await desk.read(*orders))[0] == {"purchase.order": ["new", "old"]}
    desk.on(date(2028, 1, 11))
    assert (await desk.read(*orders))[0] == {"purchase.order": ["new", None]}
    listed = await desk.list("support", "customer-support", ["order"], ada)
    assert listed == [({"order": "new"}, {}), ({}, {"order": OVER})]
    desk.on(date(2028, 3, 5))
    assert await desk.read(*orders) == ({}, {"purchase.order": OVER})
    assert await desk.list("support", "customer-support", ["order"], ada) == [({}, {"order": OVER})] * 2


async def test_a_search_neither_matches_nor_shows_expired_values(desk):
    ada = await desk.person()
    await desk.bought(ada, date(2026, 3, 4))
    name, order = {"email": "ada@example.org"}, {"purchase.order": "A-1"}
    desk.on(date(2028, 3, 4), 12)  # the last day of the order for support; the profile has one day more
    assert await desk.find("support", "customer-support", order, ["name"]) == ([ada], [{}])
    desk.on(date(2028, 3, 5))
    assert await desk.find("support", "customer-support", order) == ([], [])
    match = await desk.find("support", "customer-support", name, ["name", "purchase.order"])
    assert match == ([ada], [{"purchase.order": OVER}])
    desk.on(date(2028, 3, 6))
    assert await desk.find("support", "customer-support", name) == ([], [])
    assert await desk.find("fulfilment", "order-fulfilment", name, ["name"]) == ([ada], [{}])


async def test_an_expired_value_is_explained_without_a_read(sqlite_desk):
    desk = sqlite_desk
    ada = await desk.person()
    ask = ("support", "customer-support", ["name", "notes"], ada)
    desk.on(SUPPORTED)
    assert (await desk.explain(*ask))["name"] == (True, 5, "granted")
    desk.on(next_day(SUPPORTED))
    # Of the notes there are none, and so nothing is over.
    assert await desk.explain(*ask) == {"name": (False, 8, OVER), "notes": (True, 5, "granted")}


async def test_a_batch_fetches_the_clocks_of_all_old_subjects_at_once(desk, monkeypatch):
    old = [await desk.person() for _ in range(3)]
    await desk.bought(old[1], date(2026, 3, 5))
    desk.on(date(2028, 6, 1))
    fresh = await desk.person()
    desk.on(next_day(DELIVERED))
    await desk.bought(old[2], date(2029, 3, 5))
    asked, fetch = [], clock_reader.clocks_of

    async def counted(database, tenant, subjects):
        asked.append(set(subjects))
        return await fetch(database, tenant, subjects)

    monkeypatch.setattr(clock_reader, "clocks_of", counted)
    answers = await desk.read("fulfilment", "order-fulfilment", ["name"], fresh, *old, new_id())
    shown, over = ({"name": "Ada Lovelace"}, {}), ({}, {"name": OVER})
    assert answers == [shown, over, over, shown, ({}, {"name": "subject-not-found"})]
    assert asked == [set(old)]
    assert (await desk.read("fulfilment", "order-fulfilment", ["name"], fresh))[1] == {}
    assert len(asked) == 1  # for the fresh one nobody looks at clocks


async def test_a_generalised_value_is_shown_as_its_view_only(desk):
    ada = await desk.person()
    await desk.generalise(ada, "birth_date", "year", b"1985")
    assert await desk.read("analytics", "service-analytics", ["birth_date.year"], ada) == (
        {"birth_date.year": 1985},
        {},
    )
    answer = await desk.read("dpo", "subject-rights", ["birth_date", "birth_date.over_18", "birth_date.year"], ada)
    assert answer == ({"birth_date.year": 1985}, {"birth_date": "no-value", "birth_date.over_18": "no-value"})
    desk.on(date(2036, 3, 5), 12)  # ten years: the figures' last day
    assert (await desk.read("analytics", "service-analytics", ["birth_date.year"], ada))[0] == {"birth_date.year": 1985}
    desk.on(date(2036, 3, 6))
    assert (await desk.read("analytics", "service-analytics", ["birth_date.year"], ada))[1] == {"birth_date.year": OVER}


async def test_a_value_that_is_due_for_generalisation_is_shown_as_the_view_before_the_sweep(sqlite_desk):
    desk = sqlite_desk
    ada = await desk.person()
    ask = ("dpo", "subject-rights", ["birth_date", "birth_date.over_18", "birth_date.year"], ada)
    desk.on(DELIVERED)
    assert (await desk.read(*ask))[0] == {
        "birth_date": "1985-12-10",
        "birth_date.over_18": True,
        "birth_date.year": 1985,
    }
    desk.on(next_day(DELIVERED))
    assert await desk.read(*ask) == ({"birth_date.year": 1985}, {"birth_date": OVER, "birth_date.over_18": OVER})
    assert (await desk.read("analytics", "service-analytics", ["birth_date.year"], ada))[0] == {"birth_date.year": 1985}


async def test_a_legal_obligation_sees_only_the_values_that_it_requires(sqlite_desk):
    desk = sqlite_desk
    ada, charles = await desk.person(), await desk.person()
    await desk.bought(ada, date(2026, 3, 5))
    ask = ("finance", "accounting", ["name"])
    assert (await desk.read(*ask, charles))[1] == {}
    desk.on(next_day(DELIVERED))
    assert (await desk.read(*ask, charles))[1] == {"name": OVER}
    assert (await desk.read(*ask, ada))[1] == {}
    desk.on(date(2036, 3, 5), 23)
    assert (await desk.read(*ask, ada))[1] == {}
    assert (await desk.read("finance", "accounting", ["purchase.amount"], ada))[0] == {"purchase.amount": ["1.00"]}
    desk.on(date(2036, 3, 6))
    assert (await desk.read(*ask, ada))[1] == {"name": OVER}
    assert (await desk.read("finance", "accounting", ["purchase.amount"], ada))[1] == {"purchase.amount": OVER}


async def test_a_limit_applies_to_every_purpose(sqlite_node, clock):
    limit = '[limit.addresses]\nmost = "P1Y"\nsince = "collected"\nfields = ["address"]\nreason = "people move"\n'
    desk = await Desk.at(sqlite_node, clock, policies(limit))
    ada = await desk.person()
    ask = ("fulfilment", "order-fulfilment", ["address", "name"], ada)
    desk.on(date(2027, 3, 5), 12)
    assert (await desk.read(*ask))[1] == {}
    desk.on(date(2027, 3, 6))
    assert await desk.read(*ask) == ({"name": "Ada Lovelace"}, {"address": OVER})


async def test_a_limit_on_a_source_applies_to_values_of_that_source_only(sqlite_node, clock):
    limit = '[limit.draw]\nmost = "P3M"\nsince = "draw-held"\nsources = ["draw"]\nreason = "prizes"\n[source.draw]\n'
    desk = await Desk.at(sqlite_node, clock, policies(limit + "draw_held = 2026-05-01\n"))
    ada = await desk.person()
    await desk.bought(ada, date(2026, 3, 4), "bought")
    await desk.bought(ada, date(2026, 3, 4), "won", source="draw")
    ask = ("fulfilment", "order-fulfilment", ["purchase.order"], ada)
    desk.on(date(2026, 8, 1), 12)  # three months after the draw
    assert (await desk.read(*ask))[0] == {"purchase.order": ["won", "bought"]}
    desk.on(date(2026, 8, 2))
    assert (await desk.read(*ask))[0] == {"purchase.order": [None, "bought"]}
    assert (await desk.read("fulfilment", "order-fulfilment", ["name"], ada))[1] == {}


async def test_a_record_in_the_older_format_counts_from_the_day_in_its_row(desk):
    ada = await desk.person()
    await desk.bought(ada, date(2024, 3, 6))

    def without_since(body, _seal):
        whole = open_body(pack(body, at(START)))
        return msgspec.msgpack.encode([whole.due, whole.values, whole.origins])

    await desk.reseal(ada, without_since, "purchase")
    ask = ("support", "customer-support", ["purchase.order"], ada)
    desk.on(date(2026, 3, 6), 5)
    assert (await desk.read(*ask))[0] == {"purchase.order": ["A-1"]}
    desk.on(date(2026, 3, 7))
    assert (await desk.read(*ask))[1] == {"purchase.order": OVER}


async def test_a_value_kept_by_a_review_is_shown_to_purposes_without_an_end_of_their_own(desk):
    ada = await desk.person()
    desk.on(next_day(DELIVERED))
    place, now, services = (ada, "profile", ada), desk.clock.now(), desk.services
    async with services.data.transaction() as connection:
        await open_reviews(connection, DEFAULT_TENANT, [NewReview(place, "name", "review", DELIVERED)], now)
        review = (await reviews_in(connection, DEFAULT_TENANT, [ada]))[place]["name"]
        assert review.keeps(now.date().toordinal())
        decided = {"state": "keep", "keep_until": "2029-12-31"}
        await connection.execute(RETENTION_REVIEW.update().where(RETENTION_REVIEW.c.id == review.id).values(decided))
    rights, delivery = ("dpo", "subject-rights", ["name", "email"], ada), ("sales", "order-fulfilment", ["name"], ada)
    desk.on(date(2029, 12, 31), 12)
    assert await desk.read(*rights) == ({"name": "Ada Lovelace"}, {"email": OVER})
    assert (await desk.read(*delivery))[1] == {"name": OVER}
    desk.on(date(2030, 1, 1))
    assert (await desk.read(*rights))[1] == {"name": OVER, "email": OVER}


async def test_a_purpose_without_a_period_sees_every_claimed_value(sqlite_desk):
    desk = sqlite_desk
    assert "subject-rights" not in KEPT
    ada = await desk.person()
    ask = ("dpo", "subject-rights", ["name", "email", "salutation"], ada)
    desk.on(DELIVERED)
    shown = {"name": "Ada Lovelace", "email": "ada@example.org"}
    assert await desk.read(*ask) == (shown, {"salutation": "no-value"})
    desk.on(next_day(DELIVERED))
    assert await desk.read(*ask) == ({}, {"name": OVER, "email": OVER, "salutation": "no-value"})
