"""A sweep that would delete values of unusually many subjects waits for a confirmation."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tests.sweep.people import DEFAULT_TENANT, put_in_force, state_of, sweeps_on_record, swept, there, unpaced
from vault.policy.policy_set import PolicySet
from vault.sweep import apply
from vault.sweep.query import sweep
from vault.sweep.run import FEW, most_of
from vault.sweep.workflow import HELD_UP, begin_sweeps, lay_down, sweep_step

SHORT = ('[purpose.order-fulfilment]\nkeep = "P3Y"', '[purpose.order-fulfilment]\nkeep = "P3D"')
MISTAKE = (
    SHORT,
    ('[purpose.customer-support]\nkeep = "P2Y"', '[purpose.customer-support]\nkeep = "P2D"'),
    ('by_relationship = { former = "P1Y" } # who', "# who"),
    ('[purpose.fraud-prevention]\nkeep = "P1Y"', '[purpose.fraud-prevention]\nkeep = "P1D"'),
    ('fields = { "national_id" = "P6M" }\n', ""),
    ('[purpose.service-analytics]\nkeep = "P2Y"', '[purpose.service-analytics]\nkeep = "P2D"'),
    ('at_end = { birth_date = "birth_date.year" } # nobody', "# nobody"),
)
"""Periods of years, written as days by mistake."""


async def many(node, count=FEW + 1):
    return [
        await node.create({"name": f"Ada {number}", "email": f"ada{number}@example.org"}) for number in range(count)
    ]


async def tried(node, **how):
    return await sweep(node.services, DEFAULT_TENANT, pace=unpaced(), **how)


async def failures(node):
    return [entry.code for entry in await node.entries() if entry.action == "sweep" and entry.decision == "failed"]


def test_the_share_limit_does_not_apply_to_small_counts():
    assert [most_of(people, 10) for people in (0, 50, 101, 1_000)] == [FEW, FEW, FEW, 100]
    assert most_of(5_000, 100) == 5_000


async def test_a_sweep_after_shortened_periods_waits_for_confirmation(node, clock):
    people = await many(node)
    await swept(node)
    clock.advance(days=30)
    earlier = node.services.policies.active(DEFAULT_TENANT).policy_set
    await put_in_force(node, *MISTAKE)
    run = await tried(node)
    assert (run.state, run.check.people, run.check.of) == ("to-confirm", len(people), len(people))
    assert (run.counts.people, run.counts.values.get("erased", 0)) == (0, 0)
    assert await sweep_step(node.services, DEFAULT_TENANT, run.id) == HELD_UP
    await begin_sweeps(node.services)  # the hourly one waits too
    assert (await tried(node)).id == run.id
    assert await failures(node) == ["to-confirm"]  # a day
    assert "profile.email" in await there(node, people[0])

    await node.services.policies.apply(DEFAULT_TENANT, earlier, "test")  # it is mended: there is nothing to confirm
    counts = await swept(node)
    assert (counts.people, counts.erased) == (len(people), 0)
    assert "profile.email" in await there(node, people[0])


async def test_a_confirmed_sweep_runs_and_records_who_confirmed_it(node, clock):
    people = await many(node)
    await swept(node)
    clock.advance(days=30)
    await put_in_force(node, *MISTAKE)
    assert (await tried(node)).is_held_up
    run = await tried(node, confirm=True)
    assert (run.state, run.counts.whole) == ("done", len(people))
    assert {await state_of(node, person) for person in people} == {"erased"}
    entries = [entry for entry in await node.entries() if entry.action == "sweep" and not entry.subjects]
    assert [(item.decision, item.code) for item in entries] == [("failed", "to-confirm"), ("allowed", "confirmed")]
    assert {item.target for item in entries} == {run.id}


async def test_a_clock_years_ahead_deletes_nothing_and_leaves_no_pending_confirmation(node, clock):
    people = await many(node)
    await swept(node)
    clock.advance(days=365 * 4)
    assert (await tried(node)).is_held_up
    clock.advance(days=-365 * 4 + 1)
    assert (await swept(node)).erased == 0
    assert {await state_of(node, person) for person in people} == {"active"}


async def test_a_confirmation_is_not_valid_for_later_policies(node, clock):
    people = await many(node)
    await swept(node)
    clock.advance(days=30)
    await put_in_force(node, *MISTAKE)
    confirmed = await lay_down(node.services, DEFAULT_TENANT)
    real, seen = apply.apply_plans, []

    async def then_change(services, tenant, run, found, note):
        if not seen:
            seen.append(run)
            await put_in_force(node, ('keep = "P3D"', 'keep = "P2D"'))
        await real(services, tenant, run, found, note)

    from vault.sweep import run as running

    running.apply_plans, before = then_change, running.apply_plans
    try:
        run = await tried(node, confirm=True)
    finally:
        running.apply_plans = before
    assert (run.id, run.state, run.counts.values.get("erased", 0)) == (confirmed.id, "to-confirm", 0)
    assert {await state_of(node, person) for person in people} == {"active"}


async def test_policies_activated_by_another_node_apply_at_once(place, node, clock):
    subject = await node.create({"name": "Ada"})
    await swept(node)
    clock.advance(days=365 * 4)
    files = dict(node.services.policies.active(DEFAULT_TENANT).policy_set.files)
    longer = files["retention.toml"].replace(SHORT[0], SHORT[0].replace("P3Y", "P9Y"))
    async with place.node(clock) as other:
        await other.services.policies.apply(
            DEFAULT_TENANT, PolicySet.load(files | {"retention.toml": longer}), "another node"
        )
    counts = await swept(node)
    assert (counts.erased, await state_of(node, subject)) == (0, "active")
    assert "profile.name" in await there(node, subject)


async def test_a_sweep_deletes_nothing_if_the_newest_policies_do_not_load(node, clock):
    subject = await node.create({"name": "Ada"})
    await swept(node)
    clock.advance(days=365 * 4)
    moment = "SELECT tenant_id, :id, 'sha256:of-a-later-release', '{}', applied_at, applied_by"
    columns = "(tenant_id, id, version, files, applied_at, applied_by)"
    last = "FROM policy_version WHERE tenant_id = 'default' ORDER BY id DESC LIMIT 1"
    await node.sql(f"INSERT INTO policy_version {columns} {moment} {last}", id=UUID(int=(1 << 128) - 1))
    run = await tried(node)
    assert (run.finished_at, run.state) == (None, "waiting")
    assert await state_of(node, subject) == "active"
    assert not await sweeps_on_record(node)
    clock.advance(seconds=timedelta(hours=1).total_seconds())
    assert "erased" not in (await tried(node)).counts.values
