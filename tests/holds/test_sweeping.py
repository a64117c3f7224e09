"""What a hold covers outlives its time, for the hold alone; lifted, the next sweep takes it."""

from __future__ import annotations

from tests.holds.holding import hold_of, lift
from tests.sweep.people import state_of, swept
from tests.vaults import ADA, problem

YEARS = 365 * 4


async def test_ended_value_is_swept_after_the_hold_is_lifted(node, clock):
    subject = await node.create({"name": "Ada", "email": ADA["email"]})
    hold = await hold_of(node, subject, fields=["email"])
    clock.advance(days=YEARS)
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
