"""Short digests of two values of a record may be equal by chance: whatever is written, a record is found by all of its
values and by no other."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.erasure.people import LATELY
from tests.imports.files import bring_in, counts, subject_of, write_csv
from tests.rectification.submitting import carry_out
from tests.sweep.people import buy, go_to, swept
from vault.catalogue.types import decode
from vault.crypto.derive import FULL, IndexKeys
from vault.crypto.seal import record_aad
from vault.ids import DEFAULT_TENANT
from vault.policy.policy_set import PolicySet
from vault.requests.verification import Match, find_person
from vault.subjects.rows import digests, unpack
from vault.subjects.tables import BLIND_INDEX, RECORD

WHOLE_DIGEST = IndexKeys.digest
PEOPLE = """
purpose = "order-fulfilment"
[external_ids]
shop = "no"
[fields]
name = "name"
family_name = "family"
email = "mail"
phone = "phone"
"""
ANOTHER_EMAIL = """
[field.family_member.email]
title = "E-mail address"
type = "email"
category = "user.contact.email"
dpv = "pd:EmailAddress"
sensitivity = "confidential"
search = ["exact"]
others = true

"""


def _colliding(self, index, value, *, bits=FULL):
    """Digest as ever, but cut every short digest to one bit."""
    whole = WHOLE_DIGEST(self, index, value)
    return whole if bits == FULL else bytes([whole[0] & 0x80])


def _one_bit(policy_set: PolicySet) -> PolicySet:
    """Return the policies with short digests for each index, and one more index, of a field of a name that two have."""
    files = dict(policy_set.files)
    catalogue = re.sub(r"search_bits = .*\n", "", files["catalogue.toml"])
    head, name, rest = catalogue.partition("[field.family_member.name]\n")
    catalogue = f'{head}{ANOTHER_EMAIL}{name}search = ["exact"]\n{rest}'

    def short(match):
        kinds = re.findall(r"\w+", match[1])
        return f"{match[0]}search_bits = {{ {', '.join(f'{kind} = 8' for kind in kinds)} }}\n"

    return PolicySet.load(files | {"catalogue.toml": re.sub(r"search = \[(.*)\]\n", short, catalogue)})


@pytest.fixture
async def vault(node, monkeypatch):
    """A vault in which two short digests are equal half of the time."""
    policy_set = node.services.policies.active(DEFAULT_TENANT).policy_set
    await node.services.policies.apply(DEFAULT_TENANT, _one_bit(policy_set), "test")
    monkeypatch.setattr(IndexKeys, "digest", _colliding)
    return node


async def _index_is_right(node) -> None:
    """Check that exactly the digests of its values lead to each record."""
    catalogue = node.services.policies.active(DEFAULT_TENANT).policy_set.catalogue
    index_keys = await node.services.keyring.index_keys(DEFAULT_TENANT)
    async with node.services.data.reading() as connection:
        records = (await connection.execute(select(RECORD))).all()
        index = (await connection.execute(select(BLIND_INDEX))).all()
    expected = set()
    for row in records:
        node.services.keyring.evict(DEFAULT_TENANT, row.subject_id)
        keys = (await node.services.keyring.subject_keys(DEFAULT_TENANT, [row.subject_id]))[row.subject_id]
        aad = record_aad(DEFAULT_TENANT, row.subject_id, row.collection, row.id)
        fields = catalogue.collections[row.collection].fields
        for name, stored in unpack(row.body).items():
            if name in fields:
                value = decode(keys.open(name, stored.sealed, aad))
                expected.update((row.subject_id, row.id, digest) for digest in digests(index_keys, fields[name], value))
    assert expected
    assert {(row.subject_id, row.record_id, bytes(row.digest)) for row in index} == expected


VALUES = [
    ("Ada Lovelace", "Lovelace", "ada@example.org", "+442079460123"),
    ("Zed", "Zed", "zed@example.org", "+442079460987"),
    ("Grace Hopper", "Hopper", "grace@example.org", "+442079460123"),
    ("Bo", "Yi", "bo.yi@example.net", "+442079460444"),
    ("Ada King", "King", "countess@example.org", "+442079460555"),
]


def _profile(values) -> dict[str, str]:
    return dict(zip(("name", "family_name", "email", "phone"), values, strict=True))


async def test_a_patch_changes_the_digests_of_its_values_alone(vault):
    subject = await vault.create(_profile(VALUES[0]))
    revision = 1
    for values in VALUES[1:]:
        for field, value in _profile(values).items():
            for changed in ({field: value}, {field: None}, {field: value}):
                done = await vault.patch("sales", subject, changed, "order-fulfilment", f'"{revision}"')
                assert done.status_code == 200, done.text
                revision += 1
                await _index_is_right(vault)


async def test_an_upsert_and_an_append_do_the_same(vault):
    body = {"external_ids": {"shop": "1"}, "purpose": "order-fulfilment"}
    for values in VALUES:
        done = await vault.post("sales", "/v1/subjects:upsert", {**body, "profile": _profile(values)})
        assert done.status_code in {200, 201}, done.text
        await buy(vault, done.json()["id"], order=values[0])
        await _index_is_right(vault)


async def test_an_import_of_changed_lines_does_the_same(vault, tmp_path):
    for number, values in enumerate(VALUES):
        others = VALUES[number - 1]
        lines = [[str(line), *(others if line % 2 else values)] for line in range(6)]
        path = write_csv(tmp_path / f"{number}.csv", "no,name,family,mail,phone", *lines)
        report = await bring_in(vault, path, PEOPLE)
        assert counts(report)[3] == 0
        await _index_is_right(vault)
        assert await subject_of(vault, "3")


async def test_an_import_of_one_changed_value_does_the_same(vault, tmp_path):
    lines = [[str(line), "", "", *VALUES[line // 5][2:]] for line in range(25)]
    await bring_in(vault, write_csv(tmp_path / "all.csv", "no,name,family,mail,phone", *lines), PEOPLE)
    for column in (4, 3):  # one value at a time, the other stays
        lines = [
            [*line[:column], VALUES[number % 5][column - 1], *line[column + 1 :]] for number, line in enumerate(lines)
        ]
        report = await bring_in(
            vault, write_csv(tmp_path / f"{column}.csv", "no,name,family,mail,phone", *lines), PEOPLE
        )
        assert counts(report)[1] > 10
        await _index_is_right(vault)


async def test_a_correction_does_the_same(vault):
    subject = await vault.create(_profile(VALUES[0]))
    for values in VALUES[1:]:
        for field, value in _profile(values).items():
            done = await carry_out(vault, subject, "rectification", changes={field: value})
            assert done.outcome == "done"
            await _index_is_right(vault)


@pytest.mark.parametrize("values", VALUES[1:])
async def test_a_merge_does_the_same(vault, values):
    mine, theirs = _profile(VALUES[0]), _profile(values)
    survivor = await vault.create({"name": mine["name"], "email": mine["email"]})
    duplicate = await vault.create(theirs)
    await buy(vault, duplicate)
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "ticket 4711"}
    done = await vault.post("dpo", "/v1/subjects:merge", body)
    assert done.status_code == 201, done.text
    await _index_is_right(vault)


async def test_a_sweep_of_some_values_does_the_same(vault, clock):
    for values in VALUES:
        subject = await vault.create(_profile(values))
        await buy(vault, subject, LATELY)
    go_to(clock, clock.now().date() + timedelta(days=365 * 4))
    assert (await swept(vault)).erased > 0
    await _index_is_right(vault)


async def test_a_value_of_another_collection_is_no_match(vault):
    """A field of this name in another collection may be closed to who searches."""
    people = {values[0]: await vault.create({"name": values[0]}) for values in VALUES}
    for number, name in enumerate(people):
        child = list(people)[number - 1]
        done = await vault.append("dpo", people[name], "family_member", {"name": child}, "subject-rights")
        assert done.status_code == 201, done.text
    for name, subject in people.items():
        body = {"match": {"name": name}, "purpose": "customer-support"}
        result = (await vault.post("support", "/v1/subjects:search", body)).json()["results"]
        assert [item["subject"] for item in result] == [subject]


async def test_an_address_of_another_collection_proves_nobody(vault):
    for values in VALUES:
        subject = await vault.create({"name": values[0], "email": f"mine-{values[2]}"})
        done = await vault.append("dpo", subject, "family_member", {"email": values[2]}, "subject-rights")
        assert done.status_code == 201, done.text
    for values in VALUES:
        assert await find_person(vault.services, DEFAULT_TENANT, {"email": values[2]}) == Match(None)
        assert (await find_person(vault.services, DEFAULT_TENANT, {"email": f"mine-{values[2]}"})).subject


async def test_a_value_is_found_whose_field_was_not_indexed_when_its_predecessor_was_written(node):
    """The digests that both values would have are not there yet."""
    files = dict(node.services.policies.active(DEFAULT_TENANT).policy_set.files)
    head, field, rest = files["catalogue.toml"].partition("[field.profile.name]\n")
    without = head + field + rest.replace('search = ["exact", "prefix"]\n', 'search = ["exact"]\n', 1)
    await node.services.policies.apply(DEFAULT_TENANT, PolicySet.load(files | {"catalogue.toml": without}), "test")
    subject = await node.create({"name": "Lovelace"})
    await node.services.policies.apply(DEFAULT_TENANT, PolicySet.load(files), "test")
    match = {"match": {"name": {"prefix": "love"}}, "purpose": "customer-support"}
    assert (await node.post("support", "/v1/subjects:search", match)).json()["results"] == []
    done = await node.patch("sales", subject, {"name": "Lovell"}, "order-fulfilment", '"1"')
    assert done.status_code == 200, done.text
    await _index_is_right(node)
    result = (await node.post("support", "/v1/subjects:search", match)).json()["results"]
    assert [item["subject"] for item in result] == [subject]
