"""What a hold covers is shown for what it is held for, for what it lets go on, and to answer the person; to nobody else."""

from __future__ import annotations

from datetime import date

import pytest

from tests.retention.ended import START, Desk, at
from tests.vaults import problem
from vault.consent.model import Held
from vault.errors import Denied

HELD, OVER = "held", "retention-over"
CASE = Held(b"h" * 16, "legal-claims", also_for=("order-fulfilment",))
OTHER_CASE = Held(b"i" * 16, "legal-claims", names=("profile.email",))
LATER = date(2029, 3, 6)
"""The day after the last on which anything claims the profile; its purchases were over before."""


@pytest.fixture
async def desk(node, clock):
    return await Desk.at(node, clock)


@pytest.fixture
async def sqlite_desk(sqlite_node, clock):
    return await Desk.at(sqlite_node, clock)


async def test_a_held_value_is_refused_for_other_purposes(desk):
    ada, charles = await desk.person(), await desk.person()
    await desk.hold(ada, CASE)
    support = ("support", "customer-support", ["name", "notes"])
    with pytest.raises(Denied) as refused:
        await desk.read(*support, ada)
    assert {name: item.code for name, item in refused.value.denied.items()} == {"name": HELD, "notes": "no-value"}
    assert "legal hold" in refused.value.denied["name"].detail
    shown = {"name": "Ada Lovelace"}
    assert await desk.read(*support, ada, charles) == [
        ({}, {"name": HELD, "notes": "no-value"}),
        (shown, {"notes": "no-value"}),
    ]
    for role, purpose in (("dpo", "legal-claims"), ("fulfilment", "order-fulfilment"), ("dpo", "subject-rights")):
        assert await desk.read(role, purpose, ["name"], ada) == (shown, {})
    entry = next(item for item in await desk.node.entries() if item.refused)
    assert (entry.decision, entry.refused["profile.name.clear"]) == ("denied", HELD)


async def test_a_held_value_is_denied_by_the_api(sqlite_desk):
    ada = await sqlite_desk.person()
    await sqlite_desk.hold(ada, CASE)
    answer = problem(await sqlite_desk.node.read("support", ada, ["name"], "customer-support"), 403, "denied")
    assert answer["denied"]["name"]["code"] == HELD


async def test_a_hold_with_dates_covers_the_records_of_these_days(desk):
    ada = await desk.person()
    for day, order in ((date(2026, 1, 10), "before"), (date(2026, 2, 10), "then"), (date(2026, 3, 1), "after")):
        await desk.bought(ada, day, order)
    days = date(2026, 2, 1).toordinal(), date(2026, 2, 28).toordinal()
    await desk.hold(ada, Held(b"h" * 16, "legal-claims", (), ("purchase.*",), *days))
    support = ("support", "customer-support")
    assert await desk.read(*support, ["purchase.order", "name"], ada) == (
        {"purchase.order": ["after", None, "before"], "name": "Ada Lovelace"},
        {},
    )
    assert await desk.list(*support, ["order"], ada) == [
        ({"order": "after"}, {}),
        ({}, {"order": HELD}),
        ({"order": "before"}, {}),
    ]
    assert await desk.find(*support, {"purchase.order": "then"}) == ([], [])
    assert await desk.find(*support, {"purchase.order": "after"}) == ([ada], [{}])
    assert await desk.find("dpo", "legal-claims", {"purchase.order": "then"}) == ([ada], [{}])


async def test_an_expired_value_is_shown_for_its_hold_only(desk):
    ada = await desk.person()
    await desk.hold(ada, CASE)
    desk.on(LATER)
    assert (await desk.read("dpo", "legal-claims", ["name"], ada))[0] == {"name": "Ada Lovelace"}
    assert (await desk.read("fulfilment", "order-fulfilment", ["name"], ada))[1] == {"name": OVER}
    assert (await desk.read("dpo", "subject-rights", ["name"], ada))[1] == {"name": OVER}
    await desk.hold(ada)
    assert (await desk.read("dpo", "legal-claims", ["name"], ada))[1] == {"name": OVER}


async def test_a_read_is_limited_by_each_of_several_holds(sqlite_desk):
    ada = await sqlite_desk.person()
    await sqlite_desk.hold(ada, CASE, OTHER_CASE)
    answer = await sqlite_desk.read("fulfilment", "order-fulfilment", ["name", "email"], ada)
    assert answer == ({"name": "Ada Lovelace"}, {"email": HELD})
    assert (await sqlite_desk.read("dpo", "legal-claims", ["name", "email"], ada))[1] == {}


async def test_the_refusal_of_a_held_value_is_explained(sqlite_desk):
    ada = await sqlite_desk.person()
    await sqlite_desk.hold(ada, OTHER_CASE)
    answer = await sqlite_desk.explain("support", "customer-support", ["name", "email.masked"], ada)
    assert answer == {"name": (True, 5, "granted"), "email.masked": (False, 8, HELD)}


async def test_a_collection_whose_records_are_all_held_is_refused_as_held(sqlite_desk):
    ada = await sqlite_desk.person()
    await sqlite_desk.bought(ada, START)
    await sqlite_desk.hold(ada, Held(b"h" * 16, "legal-claims", (), ("purchase.*",)))
    assert sqlite_desk.clock.now() > at(START)
    with pytest.raises(Denied) as refused:
        await sqlite_desk.read("support", "customer-support", ["purchase.order"], ada)
    assert refused.value.denied["purchase.order"].code == HELD
