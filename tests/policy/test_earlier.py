"""Policies of an earlier version, such as those in force on the day of a receipt."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete, update

from tests.policy.test_store import FIRST, SECOND, THIRD, database, elsewhere, policies
from vault.errors import NotFound
from vault.policy import store
from vault.policy.store import POLICY_VERSION

__all__ = ["database", "elsewhere", "policies"]


async def apply(policies):
    for policy_set in (FIRST, SECOND, THIRD):
        await policies.apply("default", policy_set, "ada")


async def change(database, statement):
    async with database.transaction() as connection:
        await connection.execute(statement)


async def test_every_version_that_was_ever_in_force_is_found_on_every_node(policies, elsewhere):
    await apply(policies)
    await elsewhere.refresh()
    for node in (policies, elsewhere):
        for applied in (FIRST, SECOND, THIRD):
            earlier = await node.at("default", applied.version)
            assert (earlier.version, earlier.files) == (applied.version, applied.files)


async def test_without_a_version_the_policies_in_force_are_returned(policies):
    await apply(policies)
    assert (await policies.at("default", None)).version == THIRD.version


async def test_an_unknown_version_gives_the_policies_in_force(policies):
    await policies.apply("default", FIRST, "ada")
    await policies.apply("other", SECOND, "ada")
    assert (await policies.at("default", SECOND.version)).version == FIRST.version
    assert (await policies.at("default", "sha256:" + "0" * 64)).version == FIRST.version


@pytest.mark.parametrize("files", ["{}", "[]", "no json"])
async def test_a_stored_version_that_does_not_load_gives_those_in_force(policies, database, files):
    await apply(policies)
    await change(database, update(POLICY_VERSION).where(POLICY_VERSION.c.version == FIRST.version).values(files=files))
    assert (await policies.at("default", FIRST.version)).version == THIRD.version


async def test_a_version_that_was_tampered_with_gives_those_in_force(policies, database):
    await apply(policies)
    theirs = update(POLICY_VERSION).where(POLICY_VERSION.c.version == FIRST.version)
    await change(database, theirs.values(files=json.dumps(dict(SECOND.files))))
    assert (await policies.at("default", FIRST.version)).version == THIRD.version


async def test_earlier_versions_are_kept_in_a_bounded_cache(policies, database, monkeypatch):
    monkeypatch.setattr(store, "MOST_EARLIER", 1)
    await apply(policies)
    await policies.at("default", FIRST.version)
    await policies.at("default", SECOND.version)  # pushes the first out
    await change(database, delete(POLICY_VERSION))
    assert (await policies.at("default", SECOND.version)).version == SECOND.version
    assert (await policies.at("default", FIRST.version)).version == THIRD.version


async def test_a_tenant_without_policies_has_no_earlier_ones(policies):
    with pytest.raises(NotFound):
        await policies.at("nobody", FIRST.version)
