"""Notices at the command line: listed, shown, compared, and who must be asked again."""

from __future__ import annotations

import asyncio
import shutil
from uuid import uuid4

import pytest

from tests.policy.folders import shipped
from vault.bootstrap import open_vault, shipped_policies
from vault.consent.model import Event
from vault.consent.store import append_events
from vault.context import Caller
from vault.ids import DEFAULT_TENANT, PrincipalId, RoleName, new_id
from vault.principals.principal import Principal
from vault.records.create import create_subject
from vault.records.update import ProfileInput

MARKETING = shipped()["notices/marketing@3.md"]
SELLER = Caller(Principal(PrincipalId(uuid4()), DEFAULT_TENANT, "shop", "app", (RoleName("sales"),)), "test")


def newer(number=4, *, front="", old="once", new="twice"):
    text = MARKETING.replace("marketing@3", f"marketing@{number}").replace(old, new)
    return text.replace('language = "en"\n', f'language = "en"\n{front}')


@pytest.fixture
def draft(tmp_path):
    """A policy folder that is in force nowhere, with a newer version of a notice."""
    folder = shutil.copytree(shipped_policies(), tmp_path / "draft")
    (folder / "notices" / "marketing@4.md").write_text(newer())
    return folder


def consent(folder, *said):
    """Let somebody new say something about direct marketing for each (kind, notice)."""

    async def write():
        async with open_vault(folder) as vault:
            services, now = vault.services, vault.services.clock.now()
            for kind, notice in said:
                profile = ProfileInput({"name": "Somebody"}, "order-fulfilment")
                person = await create_subject(services, SELLER, profile)
                event = Event(
                    id=new_id(), subject=person.id, kind=kind, by="subject", purpose="direct-marketing", notice=notice,
                    method="checkbox", occurred_at=now, recorded_at=now,
                )  # fmt: skip
                async with services.data.transaction() as connection:
                    await append_events(services, connection, DEFAULT_TENANT, person.id, [event])

    asyncio.run(write())


def test_notices_are_listed_with_what_they_are_good_for(in_vault):
    lines = in_vault.ok("notices", "list").splitlines()
    assert lines[0].split("  ")[0] == "NOTICE"
    (marketing,) = [line.split("  ") for line in lines if line.startswith("marketing@3")]
    assert [cell.strip() for cell in marketing if cell] == ["marketing@3", "yes", "yes", "en, de", "direct-marketing"]

    (as_data,) = [each for each in in_vault.json("notices", "list") if each["notice"] == "marketing@3"]
    assert as_data["good_for"] == ["direct-marketing"]
    assert as_data["languages"].keys() == {"en", "de"}


def test_a_notice_is_shown_word_for_word(in_vault):
    assert in_vault.ok("notices", "show", "marketing@3") == MARKETING
    german = in_vault.json("notices", "show", "marketing@3", "--language", "de")
    assert german["text"] == shipped()["notices/marketing@3.de.md"]
    assert in_vault.ok("notices", "show", german["digest"]) == german["text"]


def test_a_notice_that_has_left_the_policies_is_shown_and_compared_still(in_vault, vault_folder):
    file = vault_folder / "policies" / "notices" / "marketing@4.md"
    file.write_text(newer())
    in_vault.ok("policy", "apply")
    file.unlink()
    in_vault.ok("policy", "apply")

    assert "marketing@4" not in in_vault.ok("notices", "list")
    assert in_vault.ok("notices", "show", "marketing@4") == newer()
    assert "{+twice+}" in in_vault.ok("notices", "diff", "marketing@3", "marketing@4")


def test_what_is_not_there_leads_to_what_is(in_vault):
    wrong = in_vault("notices", "show", "marketing@33")
    assert wrong.exit_code == 1
    assert "error: there is no such notice\nhint: did you mean `marketing@3`?" in wrong.stderr
    language = in_vault("notices", "show", "marketing@3", "--language", "fr")
    assert "error: the notice has no translation in that language" in language.stderr


def test_a_difference_is_shown_by_the_word(in_vault, draft):
    text = in_vault.ok("notices", "diff", "marketing@3", "marketing@4", "--policies", draft)
    assert "about [-once-] {+twice+} a week." in text
    assert "May we write to you?" not in text
    same = in_vault("notices", "diff", "marketing@3", "marketing@3")
    assert "The two texts are the same" in same.stderr


def test_the_front_matter_is_compared_too(in_vault, draft):
    (draft / "notices" / "marketing@4.md").write_text(
        newer(front="material = false\n", old="2026-01-01", new="2099-05-01")
    )
    compared = in_vault.json("notices", "diff", "marketing@3", "marketing@4", "--policies", draft)
    assert compared["front"] == {"material": [True, False], "valid_from": ["2026-01-01", "2099-05-01"]}
    assert compared["paragraphs"] == []
    assert compared["from"] == "2099-05-01"


def test_a_material_change_tells_how_many_must_be_asked_again(in_vault, vault_folder, draft):
    consent(
        vault_folder,
        ("given", "marketing@3"),
        ("given", "marketing@3"),
        ("given", "marketing@2"),
        ("given", "marketing@4"),
        ("withdrawn", "marketing@3"),
        ("refused", "marketing@3"),
    )
    command = ("notices", "diff", "marketing@3", "marketing@4", "--policies", draft)
    (again,) = in_vault.json(*command)["ask_again"]
    assert again == {
        "purpose": "direct-marketing",
        "accepted": ["marketing@4"],
        "people": {"marketing@2": 1, "marketing@3": 2},
        "total": 3,
    }
    text = in_vault.ok(*command)
    assert "marketing@4 is material: consent must be asked for again." in text
    assert ": 3 to ask again" in text
    assert "2 agreed to marketing@3" in text


def test_a_change_that_is_not_material_asks_nobody_who_is_up_to_date(in_vault, vault_folder, draft):
    consent(vault_folder, ("given", "marketing@3"), ("given", "marketing@2"))
    (draft / "notices" / "marketing@4.md").write_text(newer(front="material = false\n"))
    (again,) = in_vault.json("notices", "diff", "marketing@3", "marketing@4", "--policies", draft)["ask_again"]
    assert again["accepted"] == ["marketing@3", "marketing@4"]
    assert again["people"] == {"marketing@2": 1}


def test_a_draft_with_mistakes_is_not_compared(in_vault, draft):
    (draft / "notices" / "marketing@4.md").write_text("Nothing but words.")
    result = in_vault("notices", "diff", "marketing@3", "marketing@4", "--policies", draft)
    assert result.exit_code == 1
    assert "marketing@4.md:1: the notice has no front matter" in result.stderr


def test_a_text_that_changed_under_its_version_is_not_applied(in_vault, vault_folder):
    file = vault_folder / "policies" / "notices" / "marketing@3.md"
    file.write_text(MARKETING + "\nAnd more.\n")
    result = in_vault("policy", "apply")
    assert result.exit_code == 1
    assert "notices/marketing@3.md:1: marketing@3 has been in force with another text" in result.stderr
    assert "marketing@4" in result.stderr
