"""Nobody is born in the future, and no customer before 1900, unless the catalogue says so: at every door."""

from __future__ import annotations

import pytest

from tests.imports.files import PEOPLE, Faults, bring_in, counts, write_csv
from tests.vaults import problem
from vault.ids import DEFAULT_TENANT
from vault.policy.policy_set import PolicySet

IMPOSSIBLE = ["2045-03-12", "2026-03-06", "0001-01-01", "1899-12-31"]
POSSIBLE = ["2026-03-05", "1900-01-01", "1990-07-14"]
NEEDED = "subject-rights"


@pytest.mark.parametrize("born", IMPOSSIBLE)
async def test_an_impossible_date_of_birth_is_refused(sqlite_node, born):
    node = sqlite_node
    subject = await node.create()
    doors = {
        "/profile/birth_date": await node.post(
            "sales", "/v1/subjects", {"profile": {"name": "A", "birth_date": born}, "purpose": "order-fulfilment"}
        ),
        "/birth_date": await node.patch("dpo", subject, {"birth_date": born}, NEEDED, '"1"'),
        "/fields/birth_date": await node.append("dpo", subject, "family_member", {"birth_date": born}, NEEDED),
    }
    for at, answer in doors.items():
        refused = problem(answer, 422, "invalid-value")
        assert [(fault["at"], fault["code"]) for fault in refused["errors"]] == [(at, "out-of-range")]
        assert born not in str(refused)


@pytest.mark.parametrize("born", POSSIBLE)
async def test_a_possible_date_of_birth_is_taken(sqlite_node, born):
    subject = await sqlite_node.create()
    assert (await sqlite_node.patch("dpo", subject, {"birth_date": born}, NEEDED, '"1"')).status_code == 200


async def test_an_import_refuses_the_lines_of_people_who_cannot_have_been_born_then(sqlite_node, tmp_path):
    rows = [f"{number},A,{born}" for number, born in enumerate([*IMPOSSIBLE, *POSSIBLE])]
    watcher = Faults()
    mapping = PEOPLE.replace('email = "mail"', 'birth_date = "born"')
    report = await bring_in(sqlite_node, write_csv(tmp_path / "p.csv", "no,name,born", *rows), mapping, watcher=watcher)
    assert watcher.told == [(line, "out-of-range", "birth_date") for line in range(2, 6)]
    assert counts(report) == (3, 0, 0, 4)


async def test_the_catalogue_may_say_otherwise(sqlite_node):
    node = sqlite_node
    files = dict(node.services.policies.active(DEFAULT_TENANT).policy_set.files)
    mark = "[field.profile.birth_date]\n"
    bounds = 'options = { earliest = "1850-01-01", latest = "2050-12-31" }\n'
    files["catalogue.toml"] = files["catalogue.toml"].replace(mark, mark + bounds)
    await node.services.policies.apply(DEFAULT_TENANT, PolicySet.load(files), "test")
    subject = await node.create()
    assert (await node.patch("dpo", subject, {"birth_date": "1850-01-01"}, NEEDED, '"1"')).status_code == 200
    assert (await node.patch("dpo", subject, {"birth_date": "2050-12-31"}, NEEDED, '"2"')).status_code == 200
    answer = await node.patch("dpo", subject, {"birth_date": "2051-01-01"}, NEEDED, '"3"')
    problem(answer, 422, "invalid-value")
