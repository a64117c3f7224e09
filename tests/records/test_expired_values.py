"""What is over is not used beside the reads either; and a value that comes in anew takes the place of a coarser one."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import pytest

from tests.imports.files import PEOPLE, bring_in, write_csv
from tests.rectification.submitting import carry_out
from tests.retention.ended import START, Desk
from tests.vaults import ADA
from vault.ids import DEFAULT_TENANT
from vault.letters.send import find_contact
from vault.merging.duplicates import find_duplicates
from vault.records.write import ProfileInput, create_subject, patch_profile
from vault.requests.verification import find_person
from vault.subjects.rows import unpack

DELIVERED = date(2029, 3, 5)
"""The last day on which anything claims the profile of somebody who never bought or wrote anything."""
MAIL = {"email": "ada@example.org"}
CLAIMS = (MAIL, {"external_id": {"shop": "4711"}})


@pytest.fixture
async def desk(node, clock):
    return await Desk.at(node, clock)


@pytest.fixture
async def sqlite_desk(sqlite_node, clock):
    return await Desk.at(sqlite_node, clock)


def next_day(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


async def profile_of(desk, subject) -> set[str]:
    statement = "SELECT body FROM record WHERE collection = 'profile' AND subject_id = :id"
    ((body,),) = await desk.node.sql(statement, id=UUID(str(subject)))
    return set(unpack(bytes(body)))


async def test_an_expired_address_is_not_used_for_sign_in_or_contact(desk):
    profile = ProfileInput(ADA, "order-fulfilment", external_ids={"shop": "4711"})
    ada = (await create_subject(desk.services, desk.callers["sales"], profile)).id
    desk.on(DELIVERED, 23)
    for claim in CLAIMS:
        assert (await find_person(desk.services, DEFAULT_TENANT, claim)).subject == ada
    assert (await find_contact(desk.services, DEFAULT_TENANT, ada)).field == "email"
    desk.on(next_day(DELIVERED))
    for claim in CLAIMS:
        assert (await find_person(desk.services, DEFAULT_TENANT, claim)).subject is None
    assert await find_contact(desk.services, DEFAULT_TENANT, ada) is None


async def test_a_new_order_extends_the_address_for_sign_in(sqlite_desk):
    desk = sqlite_desk
    ada = await desk.person()
    await desk.bought(ada, date(2026, 3, 5))
    desk.on(date(2028, 3, 5))
    await desk.bought(ada, date(2028, 3, 5), "A-2")
    desk.on(next_day(DELIVERED))
    assert (await find_person(desk.services, DEFAULT_TENANT, MAIL)).subject == ada
    assert (await find_contact(desk.services, DEFAULT_TENANT, ada)).language == "en"


async def test_expired_values_are_not_compared_for_duplicates(desk):
    ada, twin = await desk.person(), await desk.person()
    desk.on(DELIVERED)
    again = await desk.person(name="A. L.")
    dpo = desk.callers["dpo"]
    assert {result.id for result in (await find_duplicates(desk.services, dpo, again)).results} == {ada, twin}
    desk.on(next_day(DELIVERED))
    assert (await find_duplicates(desk.services, dpo, again)).results == []
    assert (await find_duplicates(desk.services, dpo, ada)).results == []


@pytest.mark.parametrize("change", [None, "1990-01-02"])
async def test_a_patch_of_a_value_replaces_its_generalised_view(desk, change):
    ada = await desk.person()
    await desk.generalise(ada, "birth_date", "year", b"1985")
    patch = ProfileInput({"birth_date": change}, "order-fulfilment")
    await patch_profile(desk.services, desk.callers["sales"], ada, patch, revision=1)
    assert {item for item in await profile_of(desk, ada) if item.startswith("birth_date")} == (
        {"birth_date"} if change else set()
    )
    shown, missing = await desk.read("analytics", "service-analytics", ["birth_date.year"], ada)
    assert (shown, missing) == (({"birth_date.year": 1990}, {}) if change else ({}, {"birth_date.year": "no-value"}))


async def test_a_correction_replaces_a_generalised_view(sqlite_desk):
    desk = sqlite_desk
    ada = await desk.person()
    await desk.generalise(ada, "birth_date", "year", b"1985")
    done = await carry_out(desk.node, ada, "rectification", changes={"birth_date": "1990-01-02"})
    assert done.state == "completed"
    assert "birth_date.year" not in await profile_of(desk, ada)


async def test_an_import_replaces_a_generalised_view(sqlite_desk, tmp_path):
    desk = sqlite_desk
    values = {"name": "Ada", "birth_date": "1985-12-10"}
    profile = ProfileInput(values, "order-fulfilment", external_ids={"shop": "1"})
    created = await create_subject(desk.services, desk.callers["sales"], profile)
    await desk.generalise(created.id, "birth_date", "year", b"1985")
    file = write_csv(tmp_path / "people.csv", "no,name,mail,born", "1,Ada,ada@example.org,1990-01-02")
    await bring_in(desk.node, file, PEOPLE.replace('email = "mail"', 'email = "mail"\nbirth_date = "born"'))
    assert {item for item in await profile_of(desk, created.id) if item.startswith("birth_date")} == {"birth_date"}


@pytest.mark.parametrize("year", [1900, 1970])
async def test_records_of_early_years_are_expired(sqlite_desk, year):
    desk = sqlite_desk
    ada = await desk.person()
    await desk.bought(ada, date(year, 1, 1))
    shown, missing = await desk.read("support", "customer-support", ["purchase.order"], ada)
    assert (bool(shown), bool(missing)) == (year > START.year, year < START.year)


async def test_a_period_from_a_leap_day_ends_on_the_last_of_february(sqlite_desk):
    desk = sqlite_desk
    desk.on(date(2028, 2, 29), 12)
    ada = await desk.person()
    ask = ("support", "customer-support", ["name"], ada)
    desk.on(date(2030, 2, 28), 23, 59)
    assert (await desk.read(*ask))[1] == {}
    desk.on(date(2030, 3, 1))
    assert (await desk.read(*ask))[1] == {"name": "retention-over"}
