"""A batch of profiles in clear: each answer stands at its own person, whatever is odd about the others."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.retention.ended import START, Desk, codes, plain
from vault.errors import CannotOpen
from vault.ids import new_id
from vault.records.read import read_fields

WANTED = ["name", "email", "phone"]
ASK = ("sales", "order-fulfilment", WANTED)


@pytest.fixture
async def desk(node, clock):
    desk = await Desk.at(node, clock)
    desk.on(START, 12)
    return desk


def whole(number: int):
    profile = {"name": f"Person {number}", "email": f"p{number}@example.org", "phone": f"+49301000{number:02d}"}
    return profile, (profile, {})


async def shown(desk, people):
    """What each person is shown and refused, once it is sure whose answer stands where."""
    role, purpose, fields = ASK
    answer = await read_fields(desk.services, desk.callers[role], subjects=people, fields=fields, purpose=purpose)
    assert [item.subject for item in answer.results] == people
    for result in answer.results:
        assert sorted([*result.fields, *result.denied]) == sorted(fields)
    return [({k: plain(v) for k, v in item.fields.items()}, codes(item.denied)) for item in answer.results]


@pytest.mark.parametrize("kinds", ["wwl", "lww", "wlw", "lll", "www", "uww", "wuw", "lulwwulw", "wwwwllll"])
async def test_each_answer_of_a_batch_is_that_of_its_subject(sqlite_node, clock, kinds):
    """Of people whose profile is whole, of such as lack a value, and of such as nobody knows."""
    desk = await Desk.at(sqlite_node, clock)
    people, expected = [], []
    for number, kind in enumerate(kinds):
        profile, answer = whole(number)
        person = new_id() if kind == "u" else await desk.person(**profile)
        if kind == "l":
            await desk.reseal(person, lambda body, _seal: {name: at for name, at in body.items() if name != "phone"})
            answer = ({name: profile[name] for name in ("name", "email")}, {"phone": "no-value"})
        people.append(person)
        expected.append(({}, dict.fromkeys(WANTED, "subject-not-found")) if kind == "u" else answer)
    assert await shown(desk, people) == expected


async def test_a_subject_that_is_twice_in_a_batch_has_two_complete_answers(desk):
    profile, answer = whole(1)
    person = await desk.person(**profile)
    other, its = whole(2)
    assert await shown(desk, [person, await desk.person(**other), person]) == [answer, its, answer]


async def test_values_of_several_key_versions_are_shown_together(desk):
    profile, answer = whole(1)
    person = await desk.person(**profile)
    await desk.services.keyring.renew_many("default", [person])
    await desk.reseal(person, _resealed("email", b'"new@example.org"'))
    other, its = whole(2)
    assert await shown(desk, [await desk.person(**other), person]) == [
        its,
        (answer[0] | {"email": "new@example.org"}, {}),
    ]


async def test_a_damaged_value_fails_the_batch_and_nothing_is_shown(desk):
    people = [await desk.person(**whole(number)[0]) for number in range(3)]
    await desk.reseal(people[1], _damaged("phone"))
    with pytest.raises(CannotOpen):
        await desk.read(*ASK, *people)
    assert [entry.decision for entry in await desk.node.entries() if entry.action == "read"] == ["failed"]


def _resealed(field, plain):
    return lambda body, seal: body | {field: replace(body[field], sealed=seal(field, plain))}


def _damaged(field):
    def change(body, _seal):
        sealed = body[field].sealed
        return body | {field: replace(body[field], sealed=sealed[:-1] + bytes((sealed[-1] ^ 1,)))}

    return change
