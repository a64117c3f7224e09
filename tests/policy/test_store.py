"""Policies are applied for all nodes, followed without a restart, never replaced by broken ones, and kept when replaced."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import delete, func, insert, select, update

from tests.policy.folders import at, shipped
from vault.errors import NotFound, PolicyInvalid, Unavailable
from vault.ids import new_id
from vault.policy import store
from vault.policy.policy_set import PolicySet, version_of
from vault.policy.store import NOTICE_TEXT, POLICY_VERSION, VERSIONS, Policies
from vault.storage.database import Database
from vault.storage.migrate import upgrade

FIRST = PolicySet.load(shipped())
SECOND = PolicySet.load(shipped() | {"policy.csv": shipped()["policy.csv"] + "\n# reviewed\n"})
THIRD = PolicySet.load(shipped() | {"policy.csv": "p, support, *, name, read, customer-support, allow"})


@pytest.fixture
async def database(data_url):
    database = Database(data_url)
    await upgrade(database, "data")
    yield database
    await database.close()


@pytest.fixture
def policies(database, keyring, clock):
    return Policies(database, keyring, clock)


@pytest.fixture
def elsewhere(database, keyring, clock):
    """Another node on the same database."""
    return Policies(database, keyring, clock)


async def rows(database):
    async with database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(POLICY_VERSION))).scalar_one()


async def spoil(database, keyring, **values):
    """Change the newest row of a tenant as if the vault had written it so."""
    newest = select(POLICY_VERSION).where(POLICY_VERSION.c.tenant_id == "default").order_by(POLICY_VERSION.c.id.desc())
    async with database.transaction() as connection:
        row = (await connection.execute(newest.limit(1))).one()
        sealed = VERSIONS.seal(await keyring.row_keys("default"), {**row._mapping, **values})
        await connection.execute(update(POLICY_VERSION).where(POLICY_VERSION.c.id == row.id).values(sealed))


async def add(database, keyring, clock, **values):
    """Insert a row as if the vault had written it."""
    row = {"tenant_id": "default", "applied_at": clock.now(), "applied_by": "someone", "row_version": 9, **values}
    async with database.transaction() as connection:
        await connection.execute(insert(POLICY_VERSION).values(VERSIONS.seal(await keyring.row_keys("default"), row)))


async def test_no_policies_are_in_force_before_the_first_is_applied(policies):
    assert await policies.refresh() == ()
    with pytest.raises(NotFound) as caught:
        policies.active("default")

    assert "cdv policy apply" in caught.value.hint


async def test_applied_policies_are_in_force_at_once(policies):
    assert await policies.apply("default", FIRST, "ada") is True

    active = policies.active("default")
    assert active.version == FIRST.version
    assert active.policy_set is FIRST
    assert active.decisions.tenant == "default"


async def test_the_same_folder_applied_again_is_not_recorded_again(policies, database):
    await policies.apply("default", FIRST, "ada")
    decisions = policies.active("default").decisions

    assert await policies.apply("default", FIRST, "bob") is False
    assert await rows(database) == 1
    assert policies.active("default").decisions is decisions


async def test_an_older_folder_may_come_back_into_force(policies, database):
    for policy_set in (FIRST, SECOND, FIRST):
        assert await policies.apply("default", policy_set, "ada") is True

    assert await rows(database) == 3
    assert policies.active("default").version == FIRST.version


async def test_another_node_loads_applied_policies(policies, elsewhere):
    await policies.apply("default", FIRST, "ada")
    assert await elsewhere.refresh() == ("default",)
    before = elsewhere.active("default")

    await policies.apply("default", THIRD, "ada")
    assert elsewhere.active("default") is before
    assert await elsewhere.refresh() == ("default",)
    assert elsewhere.active("default").version == THIRD.version
    assert await elsewhere.refresh() == ()
    refused = await elsewhere.active("default").decisions.decide(("support",), "customer-support", ("notes",), "read")
    assert refused.refused["notes"].code == "not-granted"


async def test_another_node_has_the_same_texts(policies, elsewhere):
    files = shipped()
    files["notices/marketing@3.md"] += "\nÄpfel, \u202e\U0001f34e, \\n, \"'{}%s\n"
    policy_set = PolicySet.load(files)
    await policies.apply("default", policy_set, "ada")
    await elsewhere.refresh()

    assert elsewhere.active("default").policy_set.files == policy_set.files


async def test_tenants_have_policies_of_their_own(policies, elsewhere):
    await policies.apply("default", FIRST, "ada")
    await policies.apply("shop", THIRD, "bob")

    assert set(await elsewhere.refresh()) == {"default", "shop"}
    assert elsewhere.active("default").version == FIRST.version
    assert elsewhere.active("shop").version == THIRD.version
    assert elsewhere.active("shop").decisions.tenant == "shop"
    with pytest.raises(NotFound):
        elsewhere.active("other")


@pytest.mark.parametrize(
    "files",
    ['{"policy.csv": "p, x"}', "{}", "[]", "null", "not json", '{"policy.csv": 7}', '{"model.conf": null}', ""],
)
async def test_a_stored_policy_that_does_not_load_never_replaces_one_that_works(
    policies, elsewhere, database, keyring, clock, files
):
    await policies.apply("default", FIRST, "ada")
    await elsewhere.refresh()
    clock.advance(seconds=1)
    await policies.apply("default", SECOND, "ada")
    await spoil(database, keyring, files=files)

    assert await elsewhere.refresh() == ()
    assert await elsewhere.refresh() == ()
    assert elsewhere.active("default").version == FIRST.version


async def test_a_stored_policy_with_a_matcher_of_its_own_is_refused_and_the_log_says_where(
    policies, elsewhere, database, keyring, capsys
):
    files = shipped()
    files["model.conf"] = files["model.conf"].replace("r.act == p.act", "regexMatch(r.act, p.act)")
    await policies.apply("default", FIRST, "ada")
    await spoil(database, keyring, files=json.dumps(files), version=version_of(files))

    assert await elsewhere.refresh() == ()
    with pytest.raises(NotFound):
        elsewhere.active("default")

    (line,) = [line for line in capsys.readouterr().err.splitlines() if "stored policy" in line]
    mistake = json.loads(line)
    assert mistake["code"] == "wrong-model"
    assert mistake["at"] == at(files, "model.conf", "m = ")
    assert mistake["tenant"] == "default"


async def test_a_stored_policy_that_does_not_match_its_hash_is_not_loaded(policies, elsewhere, database, keyring):
    await policies.apply("default", FIRST, "ada")
    await spoil(database, keyring, version=SECOND.version)

    assert await elsewhere.refresh() == ()
    with pytest.raises(NotFound):
        elsewhere.active("default")


async def test_a_valid_policy_after_a_broken_one_is_loaded(policies, elsewhere, database, keyring, clock):
    await policies.apply("default", FIRST, "ada")
    await spoil(database, keyring, files="{}")
    await elsewhere.refresh()
    clock.advance(seconds=1)
    await policies.apply("default", SECOND, "ada")

    assert await elsewhere.refresh() == ("default",)
    assert elsewhere.active("default").version == SECOND.version


async def test_a_node_whose_clock_is_behind_applies_after_the_version_in_force(policies, database, keyring, clock):
    ahead = UUID(int=(2**47) << 80 | 7 << 76 | 2 << 62)
    await add(database, keyring, clock, id=ahead, version=FIRST.version, files="{}")
    await policies.apply("default", SECOND, "ada")
    await policies.refresh()

    assert policies.active("default").version == SECOND.version
    assert policies.active("default").id > ahead


async def test_a_late_refresh_never_restores_an_older_version(policies):
    await policies.apply("default", FIRST, "ada")
    old = policies.active("default").id
    await policies.apply("default", SECOND, "ada")

    assert policies.activate("default", old, FIRST) is False
    assert policies.active("default").version == SECOND.version


async def test_the_history_lists_who_applied_which_version_and_when(policies, clock):
    await policies.apply("default", FIRST, "ada")
    clock.advance(hours=1)
    await policies.apply("default", SECOND, "bob")
    await policies.apply("shop", FIRST, "eve")

    history = await policies.history("default")
    assert [(change.version, change.applied_by) for change in history] == [
        (SECOND.version, "bob"),
        (FIRST.version, "ada"),
    ]
    assert history[0].applied_at == clock.now()
    assert [change.applied_by for change in await policies.history("default", most=1)] == ["bob"]


async def test_two_nodes_that_apply_at_once_agree(policies, elsewhere, database):
    await asyncio.gather(policies.apply("default", FIRST, "ada"), elsewhere.apply("default", FIRST, "bob"))
    assert await rows(database) == 1
    await asyncio.gather(policies.apply("default", SECOND, "ada"), elsewhere.apply("default", THIRD, "bob"))
    await policies.refresh()
    await elsewhere.refresh()

    assert policies.active("default").version == elsewhere.active("default").version


MARKETING = shipped()["notices/marketing@3.md"]


def with_notice(file, text):
    return PolicySet.load(shipped() | {f"notices/{file}.md": text})


def fourth(**changes):
    text = MARKETING.replace("marketing@3", "marketing@4")
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


async def kept(database):
    async with database.reading() as connection:
        return (await connection.execute(select(NOTICE_TEXT).order_by(NOTICE_TEXT.c.recorded_at))).all()


async def test_every_notice_is_kept_in_every_language_with_the_policies(policies, clock):
    await policies.apply("default", FIRST, "ada")

    for notice in FIRST.notices.texts():
        result = await policies.notice_text("default", notice.digest)
        assert (result.notice, result.language, result.recorded_at) == (notice.id, notice.language, clock.now())
        assert result.body.decode() == shipped()[notice.file]
        assert result.parsed().body == notice.body
    assert {notice.language for notice in await policies.notice_texts("default", "marketing@3")} == {"en", "de"}


async def test_a_text_is_kept_once_for_a_tenant_however_often_it_is_applied(policies, elsewhere, database):
    for policy_set in (FIRST, SECOND, FIRST, FIRST):
        await policies.apply("default", policy_set, "ada")
    await elsewhere.apply("default", SECOND, "bob")
    once = len(await kept(database))
    await policies.apply("shop", FIRST, "ada")

    assert once == len(list(FIRST.notices.texts()))
    assert len(await kept(database)) == 2 * once


async def test_a_text_is_kept_after_it_was_removed_from_the_policies(policies, clock):
    await policies.apply("default", with_notice("marketing@4", fourth()), "ada")
    digest = policies.active("default").policy_set.notices["marketing@4"].digest
    clock.advance(hours=1)
    await policies.apply("default", FIRST, "ada")

    assert (await policies.notice_text("default", digest)).body.decode() == fourth()
    assert [notice.digest for notice in await policies.notice_texts("default", "marketing@4")] == [digest]


async def test_tenants_do_not_see_each_other_s_texts(policies):
    await policies.apply("default", with_notice("marketing@4", fourth()), "ada")
    await policies.apply("shop", FIRST, "ada")
    digest = policies.active("default").policy_set.notices["marketing@4"].digest

    assert await policies.notice_text("shop", digest) is None
    assert await policies.notice_texts("shop", "marketing@4") == []


async def test_notices_of_older_policies_are_stored_when_they_are_applied_again(policies, database):
    await policies.apply("default", FIRST, "ada")
    async with database.transaction() as connection:
        await connection.execute(delete(NOTICE_TEXT))

    assert await policies.apply("default", FIRST, "ada") is False
    assert len(await kept(database)) == len(list(FIRST.notices.texts()))


async def test_a_version_in_use_cannot_change_its_text(policies, database, clock):
    await policies.apply("default", FIRST, "ada")
    before = await kept(database)
    for file in ("marketing@3", "marketing@3.de"):
        changed = with_notice(file, shipped()[f"notices/{file}.md"] + "\nMore.\n")
        with pytest.raises(PolicyInvalid) as caught:
            await policies.apply("default", changed, "ada")

        (finding,) = caught.value.findings
        assert (finding.file, finding.code) == (f"notices/{file}.md", "notice-changed")
        assert "marketing@4" in finding.remedy
    assert policies.active("default").version == FIRST.version
    assert await kept(database) == before


async def test_a_future_version_may_change_until_its_day(policies, clock):
    day = clock.now().date() + timedelta(days=1)
    draft, better = (
        fourth(**{"2026-01-01": f"{day}", "about once": word}) for word in ("about twice", "at most twice")
    )
    await policies.apply("default", with_notice("marketing@4", draft), "ada")
    assert await policies.apply("default", with_notice("marketing@4", better), "ada") is True
    clock.advance(hours=24)
    with pytest.raises(PolicyInvalid):
        await policies.apply("default", with_notice("marketing@4", draft.replace("We keep", "We hold")), "ada")


async def test_a_version_may_get_another_language_later(policies):
    await policies.apply("default", FIRST, "ada")
    french = MARKETING.replace('"en"', '"fr"')

    assert await policies.apply("default", with_notice("marketing@3.fr", french), "ada") is True
    assert len(await policies.notice_texts("default", "marketing@3")) == 3


async def test_what_is_in_force_stays_while_the_database_is_gone(tmp_path, keyring, clock):
    path = tmp_path / "gone" / "data.sqlite"
    path.parent.mkdir()
    path.touch(mode=0o600)
    database = Database(f"sqlite:///{path}", timeout=5)
    await upgrade(database, "data")
    policies = Policies(database, keyring, clock)
    await policies.apply("default", FIRST, "ada")
    await database.close()
    path.unlink()
    path.parent.rmdir()
    gone = Database(f"sqlite:///{path}", timeout=0.5)

    with pytest.raises(Unavailable):
        await Policies(gone, keyring, clock).refresh()
    await gone.close()
    assert policies.active("default").version == FIRST.version


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


async def test_a_notice_whose_text_was_changed_in_the_database_is_not_shown(policies, database):
    await policies.apply("default", FIRST, "ada")
    notice = next(iter(FIRST.notices.texts()))
    assert await policies.notice_text("default", notice.digest)
    kept = len(await policies.notice_texts("default", notice.id))
    await change(database, update(NOTICE_TEXT).where(NOTICE_TEXT.c.digest == notice.digest).values(body=b"I agree"))
    assert await policies.notice_text("default", notice.digest) is None
    assert len(await policies.notice_texts("default", notice.id)) == kept - 1


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


@pytest.mark.parametrize("files", ["[" * 200_000, "{", "null", '{"policy.csv": 1}', "NaN"])
async def test_a_row_that_does_not_load_stops_no_later_one(policies, elsewhere, database, keyring, clock, files):
    await policies.apply("default", FIRST, "ada")
    await elsewhere.refresh()
    await add(database, keyring, clock, id=new_id(), version="sha256:x", files=files)

    assert await elsewhere.refresh() == ()
    assert elsewhere.active("default").version == FIRST.version
    assert elsewhere.behind(), "the process says that it does not follow"
    await policies.apply("default", SECOND, "ada")
    assert await elsewhere.refresh() == ("default",)
    assert elsewhere.behind() == []


async def test_a_row_that_is_removed_leaves_nothing_behind(policies, database, keyring, clock):
    await policies.apply("default", FIRST, "ada")
    await add(database, keyring, clock, id=new_id(), version="sha256:x", files="{")
    await policies.refresh()
    assert policies.behind()
    async with database.transaction() as connection:
        await connection.execute(delete(POLICY_VERSION).where(POLICY_VERSION.c.version == "sha256:x"))
    await policies.refresh()

    assert policies.behind() == []
