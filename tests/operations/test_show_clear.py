"""A batch of profiles in clear: each answer stands at its own person, whatever is odd about the others."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.operations.ended import START, Desk
from vault.errors import CannotOpen
from vault.ids import new_id

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


async def test_whoever_lacks_a_value_or_is_not_there_moves_nobody_elses_answer(desk):
    people, expected = [], []
    for number in range(12):
        profile, answer = whole(number)
        person = await desk.person(**profile)
        if number % 4 == 1:  # a body without the value
            await desk.reseal(person, lambda body, _seal: {name: at for name, at in body.items() if name != "phone"})
            answer = ({name: profile[name] for name in ("name", "email")}, {"phone": "no-value"})
        elif number % 4 == 2:
            person, answer = new_id(), ({}, dict.fromkeys(WANTED, "subject-not-found"))
        people.append(person)
        expected.append(answer)
    assert await desk.read(*ASK, *people) == expected
    assert await desk.read(*ASK, *reversed(people)) == expected[::-1]


async def test_of_somebody_twice_in_a_batch_both_answers_are_whole(desk):
    profile, answer = whole(1)
    person = await desk.person(**profile)
    other, its = whole(2)
    assert await desk.read(*ASK, person, await desk.person(**other), person) == [answer, its, answer]


async def test_values_of_several_key_versions_are_shown_together(desk):
    profile, answer = whole(1)
    person = await desk.person(**profile)
    await desk.house.keyring.renew_subject_keys("default", person)
    await desk.reseal(person, _resealed("email", b'"new@example.org"'))
    other, its = whole(2)
    shown = await desk.read(*ASK, await desk.person(**other), person)
    assert shown == [its, (answer[0] | {"email": "new@example.org"}, {})]


async def test_one_damaged_value_fails_the_batch_and_shows_nobody(desk):
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
