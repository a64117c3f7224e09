"""A hold is placed, changed, listed and lifted; what each writes, and what it refuses."""

from __future__ import annotations

from uuid import UUID, uuid4

from tests.holds.holding import HOLDS, REVIEW, ask_for_hold, hold_of, ledger_lines, lift
from tests.vaults import OTHER, problem
from vault.consent.model import unpack
from vault.errors import Unavailable
from vault.subjects.tables import SUBJECT, SUBJECTS


async def marks_of(node, subject):
    """Return the marks on a person's row."""
    ((packed,),) = await node.sql("SELECT standing FROM subject WHERE id = :id", id=UUID(subject))
    return unpack(None if packed is None else bytes(packed)).holds


async def test_hold_marks_subject_rows_and_writes_a_ledger_line(node):
    people = [await node.create() for _ in range(3)]
    free = await node.create()
    async with node.new_entries() as entries:
        created = await ask_for_hold(
            node,
            *people,
            fields=["purchase.*", "email"],
            since="2026-01-01",
            until="2026-01-31",
            also_for=["accounting"],
        )
    assert created.status_code == 201, created.text
    answer = created.json()
    assert answer["fields"] == ["purchase.*", "profile.email"]
    assert (answer["state"], answer["people"], answer["purpose"]) == ("active", 3, "legal-claims")
    for person in people:
        (mark,) = await marks_of(node, person)
        assert UUID(bytes=mark.hold) == UUID(answer["id"])
        assert (mark.purpose, mark.also_for) == ("legal-claims", ("accounting",))
    assert await marks_of(node, free) == ()
    (entry,) = entries
    assert (entry.action, entry.decision, str(entry.target)) == ("place-hold", "allowed", answer["id"])
    assert set(entry.subjects) == {await node.pseudonym(item) for item in people}
    ((kind, line),) = await ledger_lines(node)
    assert (kind, line["hold"]["id"], sorted(line["added"])) == ("hold", answer["id"], sorted(people))


async def test_a_hold_is_changed(node):
    first, second, third = [await node.create() for _ in range(3)]
    hold = await hold_of(node, first, second)
    changes = {
        "owner": "counsel-7", "review_on": "2027-01-01", "also_for": ["accounting", "legal-claims"],
        "add_subjects": [third, first], "remove_subjects": [second, str(uuid4())],
    }  # fmt: skip
    async with node.new_entries() as entries:
        done = await node.call("dpo", "PATCH", f"{HOLDS}/{hold}", changes)
    assert done.status_code == 200, done.text
    assert (done.json()["people"], done.json()["owner"]) == (2, "counsel-7")
    assert await marks_of(node, second) == ()
    for item in (first, third):
        assert [mark.also_for for mark in await marks_of(node, item)] == [("accounting",)]
    shown = (await node.call("dpo", "GET", f"{HOLDS}/{hold}")).json()
    assert shown["subjects"] == sorted([first, third])
    assert set(entries[0].subjects) == {await node.pseudonym(element) for element in (first, second, third)}
    assert (await ledger_lines(node))[-1][1]["removed"] == [second]


async def test_lifted_hold_covers_no_one_and_is_listed_separately(node):
    subject = await node.create()
    hold = await hold_of(node, subject)
    await lift(node, hold)
    assert await marks_of(node, subject) == ()
    shown = (await node.call("dpo", "GET", f"{HOLDS}/{hold}")).json()
    assert (shown["state"], shown["subjects"], shown["people"], shown["reason"]) == ("lifted", [], 1, "settled")
    assert (await node.call("dpo", "GET", HOLDS)).json()["holds"] == []
    assert len((await node.call("dpo", "GET", f"{HOLDS}?state=lifted")).json()["holds"]) == 1
    assert [kind for kind, _line in await ledger_lines(node)] == ["hold", "hold-lifted"]
    problem(await node.call("dpo", "DELETE", f"{HOLDS}/{hold}"), 409, "hold-lifted")
    problem(await node.call("dpo", "PATCH", f"{HOLDS}/{hold}", {"owner": "x"}), 409, "hold-lifted")


async def test_two_holds_on_one_subject_are_lifted_separately(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    first, second = await hold_of(node, subject), await hold_of(node, subject, fields=["name"])
    await lift(node, first)
    assert [mark.names for mark in await marks_of(node, subject)] == [("profile.name",)]
    await lift(node, second)
    assert await marks_of(node, subject) == ()


async def test_holds_due_for_review_are_listed_in_order(node, clock):
    subject = await node.create()
    days = ("2026-12-01", REVIEW, "2026-10-01")
    ids = {day: await hold_of(node, subject, review_on=day) for day in days}
    assert (await node.call("dpo", "GET", f"{HOLDS}?due=true")).json()["holds"] == []
    clock.advance(days=210)  # 2026-10-01
    due = (await node.call("dpo", "GET", f"{HOLDS}?due=true")).json()["holds"]
    assert [hold["id"] for hold in due] == [ids[day] for day in sorted(days)[:2]]
    page = (await node.call("dpo", "GET", f"{HOLDS}?limit=2")).json()
    rest = (await node.call("dpo", "GET", f"{HOLDS}?limit=2&after={page['next']}")).json()
    assert [item["review_on"] for item in (*page["holds"], *rest["holds"])] == sorted(days)
    assert rest["next"] is None


async def test_a_retried_call_places_one_hold(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    headers = {"Idempotency-Key": "one"}
    body = {"matter": "M-1", "owner": "legal", "review_on": REVIEW, "subjects": [subject]}
    first, second = [await node.post("dpo", HOLDS, body, headers=headers) for _ in range(2)]
    assert first.json() == second.json()
    assert len((await node.call("dpo", "GET", HOLDS)).json()["holds"]) == 1


async def test_hold_with_an_unknown_subject_is_not_placed(sqlite_node):
    node = sqlite_node
    subject, theirs = await node.create(), await node.create(tenant=OTHER)
    for stranger in (str(uuid4()), theirs):
        answer = problem(await ask_for_hold(node, subject, stranger), 404, "subject-not-found")
        assert "/subjects/1" in answer["hint"]
    assert await marks_of(node, subject) == await marks_of(node, theirs) == ()
    assert await ledger_lines(node) == []


async def test_invalid_draft_is_refused_with_all_faults(sqlite_node):
    subject = await sqlite_node.create()
    wrong = [
        ({"matter": "M\u00fcller ./. M\u00fcller"}, "/matter"),
        ({"owner": " legal"}, "/owner"),
        ({"purpose": "fun"}, "/purpose"),
        ({"also_for": ["accounting", "fun"]}, "/also_for/1"),
        ({"fields": ["name", "shoe"]}, "/fields/1"),
        ({"fields": ["email.masked"]}, "/fields/0"),
        ({"fields": ["shoe.*"]}, "/fields/0"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "/until"),
        ({"review_on": "2026-03-05"}, "/review_on"),
    ]
    for more, at in wrong:
        answer = problem(await ask_for_hold(sqlite_node, subject, **more), 422, "invalid-hold")
        assert [error["at"] for error in answer["errors"]] == [at]
    assert await marks_of(sqlite_node, subject) == ()


async def test_hold_needs_a_subject(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    hold = await hold_of(node, subject)
    problem(await node.call("dpo", "PATCH", f"{HOLDS}/{hold}", {"remove_subjects": [subject]}), 409, "hold-size")
    problem(await node.call("dpo", "GET", f"{HOLDS}/{uuid4()}"), 404, "hold-not-found")
    problem(await node.call("dpo", "GET", f"{HOLDS}/{hold}", tenant=OTHER), 404, "hold-not-found")
    problem(await node.call("dpo", "DELETE", f"{HOLDS}/{hold}", tenant=OTHER), 404, "hold-not-found")
    assert len(await marks_of(node, subject)) == 1


async def test_holds_need_permission(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    hold = await hold_of(node, subject)
    for role in ("support", "sales", "operator"):
        problem(await ask_for_hold(node, subject, role=role), 403, "not-granted")
        problem(await node.call(role, "DELETE", f"{HOLDS}/{hold}"), 403, "not-granted")
        problem(await node.call(role, "GET", HOLDS), 403, "not-granted")
    assert len(await marks_of(node, subject)) == 1


async def test_hold_is_not_placed_without_the_ledger(sqlite_node, monkeypatch):
    node = sqlite_node
    subject = await node.create()

    async def silent(*_args, **_how):
        raise Unavailable("the ledger does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(node.services.restore_ledger, "add", silent)
        problem(await ask_for_hold(node, subject), 503, "unavailable")
    assert await marks_of(node, subject) == ()
    assert (await node.call("dpo", "GET", HOLDS)).json()["holds"] == []


async def test_hold_covers_thousands_of_subjects(sqlite_node):
    """Entries list a thousand people each, and so do lines."""
    node = sqlite_node
    people = [await node.create() for _ in range(3)]
    async with node.services.data.transaction() as connection:
        rows = await node.services.subjects.locked_many(connection, "default", [UUID(people[0])])
    (row,) = rows.values()
    keys = await node.services.keyring.row_keys("default")
    more = [SUBJECTS.reseal(keys, row, id=uuid4(), pseudonym=uuid4()) for _ in range(2_100)]
    async with node.services.data.transaction() as connection:
        await connection.execute(SUBJECT.insert(), more)
    everybody = [*people, *(str(item["id"]) for item in more)]
    async with node.new_entries() as entries:
        hold = await hold_of(node, *everybody)
    assert [len(entry.subjects) for entry in entries] == [1000, 1000, 103]
    assert sum(len(line["added"]) for _kind, line in await ledger_lines(node)) == len(everybody)
    await lift(node, hold)
    assert await marks_of(node, everybody[-1]) == ()
