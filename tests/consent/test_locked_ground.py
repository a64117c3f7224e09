"""A withdrawal, an objection or a restriction stops every write that was checked before it and commits after it."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

import vault
from tests.consent.test_legal_ground_everywhere import say
from tests.imports.files import PEOPLE, PURCHASES, Faults, bring_in, write_csv
from tests.rectification.submitting import approve, ask, verify
from tests.vaults import problem
from vault.imports import profiles, records
from vault.records import write
from vault.rectification import accuracy

CONSENT, CONTRACT = "loyalty-programme", "order-fulfilment"
PROFILE = {"name": "Ada", "email": "ada@example.org"}
SHOP = {"shop": "4711"}


class Barrier:
    """Holds the first call of a coroutine function, before or after it runs, until it is released."""

    def __init__(self, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self.reached, self.released = asyncio.Event(), asyncio.Event()

    def hold(self, owner, name, *, after=True):
        run = getattr(owner, name)

        async def held(*args, **kwargs):
            if self.reached.is_set():
                return await run(*args, **kwargs)
            result = await run(*args, **kwargs) if after else None
            self.reached.set()
            await self.released.wait()
            return result if after else await run(*args, **kwargs)

        self._monkeypatch.setattr(owner, name, held)

    async def pass_with(self, writing, change):
        """Let a write reach the barrier, commit the change, and let the write go on."""
        task = asyncio.create_task(writing)
        reached = asyncio.create_task(self.reached.wait())
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), "the write never came to the barrier"
        try:
            await change
        finally:
            self.released.set()
        return await task


@pytest.fixture
def barrier(monkeypatch):
    return Barrier(monkeypatch)


def append(node, ada):
    return node.append("sales", ada, "loyalty", {"tier": "gold"}, CONSENT)


def patch(node, ada):
    return node.patch("sales", ada, {"language": "fr"}, CONSENT, '"1"')


def upsert(node, _ada):
    body = {"profile": {"language": "fr"}, "external_ids": SHOP, "purpose": CONSENT}
    return node.post("sales", "/v1/subjects:upsert", body)


def verify_name(node, ada):
    return node.post("sales", f"/v1/subjects/{ada}/fields:verify", {"fields": ["name"], "purpose": CONSENT})


WRITES = {append: write, patch: write, upsert: write, verify_name: accuracy}
CHANGES = {"withdrawn": "consent-missing", "objected": "consent-missing", "restricted": "restricted"}


async def _state(node):
    tables = ("record", "blind_index", "external_ref", "subject_clock")
    return [sorted(map(tuple, await node.sql(f"SELECT * FROM {table}")), key=repr) for table in tables]


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("writer", WRITES, ids=lambda writer: writer.__name__)
async def test_a_write_under_way_is_refused_as_the_next_one_is(node, barrier, writer, kind):
    ada = await node.create(PROFILE, external_ids=SHOP)
    await say(node, ada, "given", purpose=CONSENT, notice="loyalty@1")
    node.services.clock.advance(seconds=1)
    barrier.hold(WRITES[writer], "require_ground")
    before = []

    async def change():
        await say(node, ada, kind, purpose=CONSENT)
        before.extend(await _state(node))

    async with node.new_entries() as new_entries:
        raced = problem(await barrier.pass_with(writer(node, ada), change()), 403, "denied")
    assert {item["code"] for item in raced["denied"].values()} == {CHANGES[kind]}
    assert await _state(node) == before
    (entry,) = new_entries
    assert (raced["audit"], entry.decision) == (str(entry.id), "denied")
    assert set(entry.refused.values()) == {CHANGES[kind]}
    assert entry.subjects == (await node.pseudonym(ada),)
    again = problem(await writer(node, ada), 403, "denied")
    assert again["denied"] == raced["denied"]


@pytest.mark.parametrize("writer", WRITES, ids=lambda writer: writer.__name__)
async def test_a_write_under_way_goes_on_if_nothing_ended_its_ground(node, barrier, writer):
    ada = await node.create(PROFILE, external_ids=SHOP)
    await say(node, ada, "given", purpose=CONSENT, notice="loyalty@1")
    barrier.hold(WRITES[writer], "require_ground")
    answer = await barrier.pass_with(writer(node, ada), say(node, ada, "objected", purpose="direct-marketing"))
    assert answer.status_code in {200, 201}, answer.text


def test_every_write_for_a_purpose_evaluates_the_ground_under_the_lock():
    """Only the creation of a person does not: there is no state yet that could have changed."""
    without = set()
    for path in sorted(Path(vault.__file__).parent.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            called = {
                node.func.id
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            if "writing" in called and "locked_ground" not in called:
                without.add((path.name, function.name))
    assert without == {("write.py", "_create")}


IMPORTS = {
    "profiles": (profiles, PEOPLE, ("no,name,mail", "4711,Ada King,ada@example.org")),
    "records": (records, PURCHASES, ("customer,line,at,amount", "4711,L1,,9.00")),
}


@pytest.mark.parametrize("kind", ["objected", "restricted"])
@pytest.mark.parametrize("what", IMPORTS)
async def test_an_import_under_way_refuses_the_line_about_that_person(node, barrier, tmp_path, what, kind):
    ada = await node.create(PROFILE, external_ids=SHOP)
    module, mapping, lines = IMPORTS[what]
    barrier.hold(module, "classify")
    watcher, before = Faults(), []

    async def change():
        await say(node, ada, kind, purpose=CONTRACT)
        before.extend(await _state(node))

    await barrier.pass_with(
        bring_in(node, write_csv(tmp_path / "lines.csv", *lines), mapping, watcher=watcher), change()
    )
    assert watcher.told == [(2, kind, None)]
    assert await _state(node) == before


@pytest.mark.parametrize("about", ["survivor", "duplicate"])
@pytest.mark.parametrize("kind", CHANGES)
async def test_a_merge_under_way_keeps_what_stops_a_use(node, barrier, kind, about):
    both = {"survivor": await node.create(PROFILE), "duplicate": await node.create(PROFILE)}
    for subject in both.values():
        await say(node, subject, "given", purpose=CONSENT, notice="loyalty@1")
    node.services.clock.advance(seconds=1)
    barrier.hold(type(node.services.keyring), "index_keys")
    merging = node.post("dpo", "/v1/subjects:merge", {**both, "evidence": "ticket 4711"})
    answer = await barrier.pass_with(merging, say(node, both[about], kind, purpose=CONSENT))
    assert answer.status_code == 201, answer.text
    refused = problem(await append(node, both["survivor"]), 403, "denied")
    assert {item["code"] for item in refused["denied"].values()} == {CHANGES[kind]}


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_correction_under_way_is_the_persons_right_and_leaves_the_stop_in_force(node, barrier, kind):
    """Art. 16 is no ground that a person's own denial ends: who has restricted their data still has it corrected."""
    ada = await node.create(PROFILE)
    await say(node, ada, "given", purpose=CONSENT, notice="loyalty@1")
    node.services.clock.advance(seconds=1)
    request = await ask(node, ada, "rectification", changes={"name": "Ada King"})
    await verify(node, request)
    barrier.hold(type(node.services.keyring), "index_keys")
    done = await barrier.pass_with(approve(node, request), say(node, ada, kind, purpose=CONSENT))
    assert (done.state, done.outcome) == ("completed", "done")
    refused = problem(await append(node, ada), 403, "denied")
    assert {item["code"] for item in refused["denied"].values()} == {CHANGES[kind]}
    shown = await node.read("dpo", ada, ["name"], "subject-rights")
    assert shown.json()["fields"] == {"name": "Ada King"}
