"""A restore is killed wherever it may be: nobody is let in, and whoever goes on loses nothing and brings nobody back."""

from __future__ import annotations

import asyncio

from tests.backup.backups import back_up
from tests.backup.restore_killing import KillableRestore
from tests.backup.restores import opened, replay_rest, wanted
from tests.erasure.people import LATELY, erase, keys_of, somebody, state_of
from tests.jobs.killing import every
from tests.vaults import ADA
from vault.bootstrap import open_vault
from vault.catalogue.model import Scope
from vault.cli.backup import restore_backup
from vault.errors import VaultError

YES = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox", "channel": "web",
}  # fmt: skip
NO = {"purpose": "direct-marketing", "decision": "withdrawn", "channel": "web"}


async def made_and_lost(node, clock, folder):
    """Make people, a backup, and after it all that a restore must not undo; returns the backup and the people."""
    people = {
        name: await somebody(
            node,
            profile={**ADA, "email": f"{name}@example.org"},
            external_ids={"shop": name},
            bought=[LATELY] if name == "kept" else [],
        )
        for name in ("gone", "kept", "part", "said", "held", "living")
    }
    await node.post("support", f"/v1/subjects/{people['said']}/consents", YES)
    backup = await back_up(node, folder)
    clock.advance(hours=1)
    await node.post("support", f"/v1/subjects/{people['said']}/consents", NO)
    hold = {"matter": "7 O 12/26", "owner": "legal", "subjects": [people["held"]], "review_on": "2026-09-01"}
    assert (await node.post("dpo", "/v1/holds", hold)).status_code == 201
    for name in ("gone", "kept"):
        await erase(node, people[name])
    await erase(node, people["part"], scope=Scope(fields=("profile.phone",)))
    return backup, people


async def check_whole(new, people, clock):
    """Check what holds at the end, whatever happened on the way."""
    async with opened(new).node(clock) as node:
        states = {name: await state_of(node, subject) for name, subject in people.items()}
        assert states == {
            "gone": "erased", "kept": "retained", "part": "active", "said": "active", "held": "active", "living": "active",
        }  # fmt: skip
        assert await keys_of(node, people["gone"]) == []
        assert len(await keys_of(node, people["kept"])) == len(await keys_of(node, people["part"])) == 1
        books = await node.read("finance", people["kept"], ["purchase.order"], "accounting")
        assert books.json()["fields"] == {"purchase.order": ["order-0"]}
        shown = await node.read("dpo", people["part"], ["name", "phone"], "subject-rights")
        assert shown.json()["fields"] == {"name": ADA["name"]}
        held = (await node.read("sales", people["held"], ["name"], "order-fulfilment")).json()
        assert held["denied"]["name"]["code"] == "held"
        said = (await node.read("marketing", people["said"], ["email"], "direct-marketing")).json()
        assert said["denied"]["email"]["code"] == "consent-missing"
        living = await node.read("sales", people["living"], ["name"], "order-fulfilment")
        assert living.json()["fields"] == {"name": ADA["name"]}
        rows = await node.sql("SELECT kind, count(*) FROM consent_event GROUP BY kind ORDER BY kind")
        assert [tuple(row) for row in rows] == [("given", 1), ("withdrawn", 1)]
        assert [tuple(row) for row in await node.sql("SELECT state, count(*) FROM erasure GROUP BY state")] == [
            ("done", 3)
        ]
        assert [tuple(row) for row in await node.sql("SELECT count(*) FROM hold")] == [(1,)]
        entries = await node.entries("default")
        assert len([entry for entry in entries if entry.action == "erase"]) == 3
        assert [entry.code for entry in entries if entry.action == "restore"] == ["denied-again", "replayed"]


async def is_closed(new, clock):
    """Tell whether the vault lets nobody in."""
    try:
        async with open_vault(new.folder, clock=clock):
            return False
    except VaultError:
        return True


async def kill_and_go_on(job, point, new, people, clock, *, closed=True):
    assert await asyncio.to_thread(job.killed_at, point), point
    assert await is_closed(new, clock) == closed, point
    if (new.folder / "restoring.json").exists() or (new.folder / "cdv.toml").exists():
        if closed:
            await replay_rest(new, clock)
    else:
        await restore_backup(job.wanted, lambda _what, _count: None, clock=clock)
    await check_whole(new, people, clock)


async def test_restore_killed_at_any_point_stays_closed_and_can_be_continued(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        backup, people = await made_and_lost(node, clock, tmp_path / "b")
    first = await somewhere(place)
    passed = await asyncio.to_thread(KillableRestore(wanted(backup, place, first), clock.now()).points)
    await check_whole(first, people, clock)
    # The last commit opens the gate: before it everything is closed, after it nothing is left to do.
    last = max(number for number, point in enumerate(passed) if point.startswith("committed"))
    points = [*every(passed[:last], 11), passed[last]]
    assert len(set(points)) == 12
    for point in points:
        new = await somewhere(place)
        job = KillableRestore(wanted(backup, place, new), clock.now())
        await kill_and_go_on(job, point, new, people, clock, closed=point != passed[last])


async def test_restore_killed_on_postgresql_can_be_continued(postgres_place, clock, somewhere, tmp_path):
    place = postgres_place
    async with place.node(clock) as node:
        backup, people = await made_and_lost(node, clock, tmp_path / "b")
    # The key store is there; the data is there, and its version is not; the second of three erasures is half done.
    for point in ("bring_back.after#1", "restore.after#2", "execute_erasure.after#2"):
        new = await somewhere(place)
        await kill_and_go_on(KillableRestore(wanted(backup, place, new), clock.now()), point, new, people, clock)
