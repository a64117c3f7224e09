"""After a restore: what was erased, said no to, restricted and held since the backup is so again."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.backup.backups import back_up
from tests.backup.restores import bring_back, bring_back_closed, ledger_lines, lose, opened, replay_rest
from tests.erasure.people import LATELY, certificate, erase, keys_of, rows_of, somebody, state_of
from tests.vaults import ADA, OTHER, problem
from vault.catalogue.model import Scope
from vault.consent.store import compare
from vault.ids import DEFAULT_TENANT

BOB = {**ADA, "name": "Bob Babbage", "email": "bob@example.org", "phone": "+442079460777"}
YES = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox", "channel": "web",
}  # fmt: skip


async def says(node, subject, decision="withdrawn", purpose="direct-marketing"):
    said = YES if decision == "given" else {"purpose": purpose, "decision": decision, "channel": "web"}
    created = await node.post("support", f"/v1/subjects/{subject}/consents", said)
    assert created.status_code == 201, created.text


async def merge(node, survivor, duplicate):
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "the same passport"}
    merged = await node.post("dpo", "/v1/subjects:merge", body)
    assert merged.status_code == 201, merged.text


async def seen(node, subject, purpose="direct-marketing", role="marketing"):
    return await node.read(role, subject, ["email"], purpose)


async def refusal(node, subject):
    return (await seen(node, subject)).json()["denied"]["email"]["code"]


async def in_order(node):
    """See that every person's row says what the ledger of consents does."""
    async for compared in compare(node.services, DEFAULT_TENANT):
        assert compared.differences == []


async def test_whoever_was_erased_since_stays_erased_though_the_backup_has_the_key(place, clock, somewhere, tmp_path):
    async with place.node(clock) as node:
        gone = await somebody(node, profile=BOB, external_ids={"shop": "1"})
        kept = await somebody(node, bought=[LATELY])
        living = await node.create({**ADA, "email": "living@example.org"})
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        requests = [await erase(node, element) for element in (gone, kept)]
    lose(place)
    new = await somewhere(place)
    clock.advance(hours=1)
    assert (await bring_back(backup, place, new, clock)).erasures == 2
    async with opened(new).node(clock) as node:
        assert (await state_of(node, gone), await state_of(node, kept)) == ("erased", "retained")
        assert await keys_of(node, gone) == []
        assert await keys_of(node, kept) == [2]
        for item in (gone, kept):
            assert (await node.read("sales", item, ["name"], "order-fulfilment")).status_code == 404
        books = await node.read("finance", kept, ["purchase.amount"], "accounting")
        assert books.json()["fields"] == {"purchase.amount": ["12.90"]}
        problem(
            await node.post("sales", "/v1/subjects", {"profile": BOB, "purpose": "order-fulfilment"}),
            409,
            "erased-before",
        )
        assert (await node.read("sales", living, ["name"], "order-fulfilment")).json()["fields"] == {
            "name": ADA["name"]
        }
        rows = await node.sql("SELECT request_id, state, certificate FROM erasure ORDER BY started_at, subject_id")
        assert {row[1] for row in rows} == {"done"}
        assert {UUID(bytes=bytes(row[0])) if isinstance(row[0], bytes) else row[0] for row in rows} == set(requests)
        assert all(row[2] for row in rows)


async def test_partial_erasure_is_repeated_and_the_rest_is_kept(place, clock, somewhere, tmp_path):
    async with place.node(clock) as node:
        subject = await somebody(node, bought=[LATELY])
        backup = await back_up(node, tmp_path / "b")
        await erase(node, subject, scope=Scope(fields=("profile.phone", "profile.birth_date")))
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        assert await state_of(node, subject) == "active"
        assert await keys_of(node, subject) == [2]
        shown = await node.read("dpo", subject, [*ADA, "purchase.order"], "subject-rights")
        assert set(ADA) - shown.json()["fields"].keys() == {"phone", "birth_date"}
        assert shown.json()["fields"]["purchase.order"] == ["order-0"]
        answer = await node.post(
            "sales",
            "/v1/subjects:search",
            {"match": {"phone": ADA["phone"]}, "fields": [], "purpose": "order-fulfilment"},
        )
        assert answer.json()["results"] == []


async def test_denials_since_the_backup_are_replayed(place, clock, somewhere, tmp_path):
    async with place.node(clock) as node:
        people = [await node.create({**BOB, "email": f"bob{number}@example.org"}) for number in range(3)]
        for person in people:
            await says(node, person, "given")
        backup = await back_up(node, tmp_path / "b")
        clock.advance(minutes=5)
        await says(node, people[0])
        objected = await node.post(
            "support",
            f"/v1/subjects/{people[1]}/objections",
            {"purpose": "direct-marketing", "reason": "too many letters"},
        )
        assert objected.status_code == 201, objected.text
        restricted = await node.post(
            "dpo", f"/v1/subjects/{people[2]}/restriction", {"ground": "accuracy", "reason": "wrong"}
        )
        assert restricted.status_code in {200, 201}, restricted.text
        after = [(await seen(node, item)).json() for item in people]
    new = await somewhere(place)
    clock.advance(minutes=5)
    assert (await bring_back(backup, place, new, clock)).denials == 3
    async with opened(new).node(clock) as node:
        for person, before in zip(people, after, strict=True):
            now = (await seen(node, person)).json()
            assert now["code"] == before["code"]
            assert now["denied"] == before["denied"]
        assert await state_of(node, people[2]) == "restricted"
        await in_order(node)


async def test_imported_denials_are_replayed(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        subject = await node.create(BOB)
        await says(node, subject, "given")
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        item = {
            "subject": subject, "purpose": "direct-marketing", "decision": "withdrawn",
            "occurred_at": "2026-03-05T12:30:00Z", "channel": "mail",
        }  # fmt: skip
        done = await node.post("dpo", "/v1/consents:import?source=newsletter", [item])
        assert done.status_code == 200, done.text
    new = await somewhere(place)
    assert (await bring_back(backup, place, new, clock)).denials == 1
    async with opened(new).node(clock) as node:
        assert await refusal(node, subject) == "consent-missing"
        await in_order(node)


async def test_a_hold_that_was_placed_since_holds_again_and_one_that_was_lifted_does_not(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        subject = await node.create(BOB)
        hold = {
            "matter": "LG 12 O 34/26", "owner": "legal", "purpose": "legal-claims", "subjects": [subject],
            "fields": ["phone"], "review_on": "2026-09-01",
        }  # fmt: skip
        first = await node.post("dpo", "/v1/holds", hold)
        assert first.status_code == 201, first.text
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        second = await node.post("dpo", "/v1/holds", {**hold, "fields": ["address"]})
        assert second.status_code == 201, second.text
        lifted = await node.call("dpo", "DELETE", f"/v1/holds/{first.json()['id']}")
        assert lifted.status_code == 200, lifted.text
    new = await somewhere(place)
    assert (await bring_back(backup, place, new, clock)).holds == 3
    async with opened(new).node(clock) as node:
        shown = (await node.read("sales", subject, ["phone", "address"], "order-fulfilment")).json()
        assert shown["fields"] == {"phone": BOB["phone"]}
        assert shown["denied"]["address"]["code"] == "held"


async def test_denial_of_the_survivor_covers_the_restored_duplicate(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        stays, goes = await node.create(BOB), await node.create({**BOB, "email": "b.babbage@example.org"})
        third = await node.create({**BOB, "email": "bb@example.org"})
        for person in (stays, goes, third):
            await says(node, person, "given")
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        for survivor, duplicate in ((goes, third), (stays, goes)):
            await merge(node, survivor, duplicate)
        await says(node, stays)
        clock.advance(hours=1)
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        for person in (stays, goes, third):
            assert await refusal(node, person) == "consent-missing"
        await in_order(node)
        # From here on they are three people of their own; who they are is for the staff to find out once more.
        assert (await node.read("sales", goes, ["name"], "order-fulfilment")).json()["fields"] == {"name": BOB["name"]}


async def test_whoever_was_merged_and_then_erased_is_erased_under_every_id(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        stays, goes = await node.create(BOB), await node.create({**BOB, "email": "b.babbage@example.org"})
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        await merge(node, stays, goes)
        await erase(node, stays)
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        for person in (stays, goes):
            assert await state_of(node, person) == "erased"
            assert await keys_of(node, person) == []
            assert await rows_of(node, "record", person) == 0


async def test_whoever_came_and_went_since_the_backup_is_remembered_by_a_tombstone(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        await erase(node, await node.create(BOB, external_ids={"shop": "4712"}))
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        body = {"profile": BOB, "purpose": "order-fulfilment"}
        problem(await node.post("sales", "/v1/subjects", body), 409, "erased-before")


async def test_whoever_came_back_by_themselves_before_the_backup_is_not_kept_out_by_it(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        await erase(node, await node.create(BOB))
        clock.advance(minutes=5)
        body = {"profile": BOB, "purpose": "order-fulfilment", "external_ids": {"shop": "7"}}
        back = await node.post("sales", "/v1/subjects", {**body, "returning": True})
        assert back.status_code == 201, back.text
        backup = await back_up(node, tmp_path / "b")
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        again = await node.post("sales", "/v1/subjects:upsert", body)
        assert (again.status_code, again.json()["id"]) == (200, back.json()["id"])


async def test_repeated_replay_changes_nothing(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        gone, said = await node.create(), await node.create(BOB)
        await says(node, said, "given")
        backup = await back_up(node, tmp_path / "b")
        await erase(node, gone)
        await says(node, said)
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        before = await facts(node)
        await node.sql("UPDATE restore SET replayed_at = NULL")
    again = await replay_rest(new, clock)
    assert (again.erasures, again.denials) == (0, 0)
    async with opened(new).node(clock) as node:
        assert await facts(node) == before


async def facts(node):
    tables = ("subject", "record", "consent_event", "erasure", "tombstone", "recipient_notice")
    return [sorted(map(tuple, await node.sql(f"SELECT * FROM {table}")), key=str) for table in tables]


async def test_a_restore_of_an_older_backup_after_a_restore_knows_all_that_was_since(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        first, second = await node.create(), await node.create(BOB)
        backup = await back_up(node, tmp_path / "b")
        await erase(node, first)
    once = await somewhere(place)
    await bring_back(backup, place, once, clock)
    async with opened(once).node(clock) as node:
        await erase(node, second)
    twice = await somewhere(place)
    assert (await bring_back(backup, place, twice, clock)).erasures == 2
    async with opened(twice).node(clock) as node:
        assert [await state_of(node, item) for item in (first, second)] == ["erased", "erased"]


async def test_each_line_is_of_its_own_tenant_and_what_is_lost_of_one_is_counted(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        theirs = await node.create(tenant=OTHER)
        backup = await back_up(node, tmp_path / "b")
        await erase(node, await node.create(BOB))
        from vault.ids import TenantId

        await node.services.restore_ledger.add(TenantId("added-later"), "consent", clock.now(), [(UUID(theirs), b"{}")])
    new = await somewhere(place)
    assert (await bring_back(backup, place, new, clock)).unknown == 1
    async with opened(new).node(clock) as node:
        shown = await node.read("sales", theirs, ["name"], "order-fulfilment", tenant=OTHER)
        assert shown.json()["fields"] == {"name": ADA["name"]}


async def test_the_restored_log_tells_of_the_restore_and_of_all_that_was_done_again(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        gone, said = await node.create(), await node.create(BOB)
        await says(node, said, "given")
        pseudonyms = [await node.pseudonym(item) for item in (gone, said)]
        backup = await back_up(node, tmp_path / "b")
        await erase(node, gone)
        await says(node, said)
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        done = [entry for entry in await node.entries("default") if entry.action in {"restore", "erase"}]
        answers = [(item.action, item.code, item.subjects) for item in done]
        assert answers == [
            ("restore", "denied-again", (pseudonyms[1],)),
            ("erase", None, (pseudonyms[0],)),
            ("restore", "replayed", ()),
        ] or answers == [
            ("erase", None, (pseudonyms[0],)),
            ("restore", "denied-again", (pseudonyms[1],)),
            ("restore", "replayed", ()),
        ]
        assert done[-1].target == backup.manifest.id


async def test_ledger_lines_contain_no_values(sqlite_node):
    node = sqlite_node
    subject = await somebody(node, bought=[LATELY])
    await says(node, subject, "given")
    created = await node.post(
        "support",
        f"/v1/subjects/{subject}/consents",
        {
            "purpose": "direct-marketing",
            "decision": "withdrawn",
            "channel": "web",
            "evidence": "said it to Grace Hopper",
        },
    )
    assert created.status_code == 201, created.text
    await erase(node, subject)
    lines = await ledger_lines(node)
    assert [kind for kind, _subject, _body in lines] == ["consent", "erasure"]
    values = [*(str(value) for name, value in ADA.items() if name not in {"address", "language"}), "4711", "Grace"]
    for _kind, about, body in lines:
        assert str(about) == subject
        assert not [value for value in values if value in str(body)]


@pytest.mark.parametrize("what", ["withdrawn", "erased", "restricted", "merged"])
async def test_without_the_ledger_nothing_is_promised_that_a_restore_could_undo(place, clock, what, tmp_path):
    async with place.node(clock) as node:
        subject, other = await node.create(), await node.create(BOB)
        await says(node, subject, "given")
        ledger = place.folder / "ledger.sqlite"
        away = tmp_path / "away.sqlite"
        ledger.rename(away)
        before = await facts(node)
        if what == "withdrawn":
            body = {"purpose": "direct-marketing", "decision": "withdrawn", "channel": "web"}
            done = await node.post("support", f"/v1/subjects/{subject}/consents", body)
        elif what == "restricted":
            done = await node.post(
                "dpo", f"/v1/subjects/{subject}/restriction", {"ground": "accuracy", "reason": "wrong"}
            )
        elif what == "merged":
            body = {"survivor": subject, "duplicate": other, "evidence": "the same passport"}
            done = await node.post("dpo", "/v1/subjects:merge", body)
        else:
            from vault.errors import Unavailable

            with pytest.raises(Unavailable):
                await erase(node, subject)
            done = None
        if done is not None:
            problem(done, 503, "unavailable")
        after = await facts(node)
        assert after[:3] == before[:3]
        assert await state_of(node, subject) == "active"
        away.rename(ledger)
        assert (await seen(node, subject)).status_code == 200


async def test_a_certificate_says_once_more_what_was_erased_and_when_it_was_done_again(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        subject = await somebody(node)
        from tests.erasure.people import ask, run

        request = await ask(node, subject)
        backup = await back_up(node, tmp_path / "b")
        await run(node.services, request)
        before = await certificate(node, request)
    new = await somewhere(place)
    clock.advance(days=2)
    await bring_back_closed(backup, place, new, clock)
    await replay_rest(new, clock)
    async with opened(new).node(clock) as node:
        await run(
            node.services, request
        )  # the request's own job, which the backup had as it was: it joins what was done
        after = await certificate(node, request)
    assert after["erasure"] == before["erasure"]
    assert after["erased"] == before["erased"]
    assert after["erased_at"] > before["erased_at"]
