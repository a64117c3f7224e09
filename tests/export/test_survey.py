"""A package contains all retained values, also expired ones under a hold or review, but not those about to be deleted."""

from __future__ import annotations

import json
from datetime import date

from tests.export.customer import files_of
from tests.retention.ended import Desk, policies
from vault.catalogue.model import Scope
from vault.consent.model import Held

REVIEWED = '[limit.phones]\nmost = "P1Y"\nsince = "collected"\nfields = ["phone"]\nreason = "r"\nthen = "review"\n'
OVER = date(2029, 3, 6)
"""The day after the last on which anything claims the profile."""


async def told(desk, subject, kind="access", **how):
    data = json.loads((await files_of(desk.node, subject, kind, **how))["data.json"])
    (record,) = data["records"].get("profile") or ({"values": {}, "origins": []},)
    keeps = {name: origin["keep"] for origin in record["origins"] for name in origin["fields"]}
    return data, record["values"], keeps


async def test_expired_values_that_the_next_sweep_deletes_are_left_out(sqlite_node, clock):
    desk = await Desk.at(sqlite_node, clock)
    ada = await desk.person()
    desk.on(date(2029, 3, 5))
    data, values, keeps = await told(desk, ada)
    assert (data["counts"]["values"], len(values)) == (6, 6)
    assert keeps["name"]["until"] == "2029-03-05"
    desk.on(OVER)
    data, values, _keeps = await told(desk, ada)
    assert (data["counts"]["values"], values) == (0, {})


async def test_expired_values_under_a_hold_or_a_review_are_included(sqlite_node, clock):
    desk = await Desk.at(sqlite_node, clock, policies(REVIEWED))
    ada = await desk.person()
    await desk.hold(ada, Held(b"h" * 16, "legal-claims", names=("profile.email",)))
    desk.on(OVER)
    _data, values, keeps = await told(desk, ada)
    assert values == {"email": "ada@example.org", "phone": "+442079460123"}
    assert keeps["email"] == {"until": None, "purpose": "legal-claims", "moves": False}
    assert keeps["phone"]["until"] == "2027-03-05"


async def test_generalised_values_are_included_as_they_are_stored(sqlite_node, clock):
    desk = await Desk.at(sqlite_node, clock)
    ada = await desk.person()
    await desk.generalise(ada, "birth_date", "year", b"1985")
    desk.on(OVER)
    _data, values, keeps = await told(desk, ada)
    assert values == {"birth_date.year": 1985}
    assert keeps["birth_date.year"]["until"] == "2036-03-05"


async def test_generalised_values_belong_to_their_field_for_portability_and_scope(sqlite_node, clock):
    desk = await Desk.at(sqlite_node, clock)
    ada = await desk.person()
    await desk.generalise(ada, "birth_date", "year", b"1985")
    _data, values, _keeps = await told(desk, ada, "portability")
    assert values["birth_date.year"] == 1985
    for scope in (Scope(fields=("profile.birth_date",)), Scope(purposes=("service-analytics",))):
        _data, values, _keeps = await told(desk, ada, scope=scope)
        assert values["birth_date.year"] == 1985
    _data, values, _keeps = await told(desk, ada, scope=Scope(fields=("profile.name",)))
    assert values == {"name": "Ada Lovelace"}
