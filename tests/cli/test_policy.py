"""Policies and notices at the command line."""

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
from vault.records.write import ProfileInput, create_subject

BAD_RULE = "p, support, *, shoe_size, read, customer-support, allow\n"
GOOD_RULE = "p, support, *, salutation, write, customer-support, deny\n"


@pytest.fixture
def draft(tmp_path):
    """A policy folder outside any vault."""
    return shutil.copytree(shipped_policies(), tmp_path / "draft")


def add_rule(folder, rule):
    path = folder / "policy.csv"
    text = path.read_text()
    path.write_text(text + rule)
    return text.count("\n") + 1


def test_valid_folder_is_checked_without_a_vault(cdv, draft):
    result = cdv("policy", "check", draft)
    assert result.exit_code == 0
    assert "no mistakes" in result.stderr
    assert cdv.json("policy", "check", draft)["findings"] == []


def test_mistakes_have_file_line_and_remedy(cdv, draft):
    first = add_rule(draft, BAD_RULE)
    second = add_rule(draft, "p, support\n")
    result = cdv("policy", "check", draft)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{draft}/policy.csv:{first}: ")
    assert lines[1].startswith("    remedy: ")
    assert lines[2].startswith(f"{draft}/policy.csv:{second}: ")
    assert result.stderr == "error: the policies have 2 mistakes\n"


def test_rule_that_opens_nothing_and_unread_file_are_warned_of(cdv, draft):
    line = add_rule(draft, "p, receptionist, *, iban, read, customer-support, allow\n")
    (draft / "word.de.toml").write_text("")
    result = cdv("policy", "check", draft)
    assert result.exit_code == 0
    assert f"warning: {draft}/policy.csv:{line}: the rule opens nothing: customer-support does not need `iban`" in (
        result.stderr
    )
    assert f"warning: {draft}/word.de.toml:1: the file is not read" in result.stderr
    assert "did you mean `words.de.toml`?" in result.stderr
    assert [found["code"] for found in cdv.json("policy", "check", draft)["warnings"]] == [
        "unknown-file", "idle-rule", "example-controller",
    ]  # fmt: skip
    assert cdv("policy", "check", draft, "--strict").exit_code == 1


def test_unread_file_is_shown_next_to_the_mistake_that_it_causes(cdv, draft):
    (draft / "retention.toml").rename(draft / "retentions.toml")
    result = cdv("policy", "check", draft)
    assert result.exit_code == 1
    assert "retention.toml:1: the file is not there" in result.stdout
    assert "did you mean `retention.toml`?" in result.stderr


def test_rules_of_a_spreadsheet_with_semicolons_are_one_mistake(cdv, draft):
    path = draft / "policy.csv"
    rules = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    path.write_text("\n".join(line.replace(",", ";") for line in rules))
    result = cdv("policy", "check", draft)
    assert result.stdout.splitlines() == [
        f"{draft}/policy.csv:1: the columns are separated by semicolons, here and maybe on other lines",
        "    remedy: save the file with commas between the columns",
    ]
    assert "error: the policies have 1 mistake\n" in result.stderr


def test_mistakes_as_json(cdv, draft):
    import json

    line = add_rule(draft, BAD_RULE)
    result = cdv("policy", "check", draft, "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["file"], finding["line"]) == ("policy.csv", line)
    assert finding["message"]
    assert finding["remedy"]


def test_default_policy_folder(cdv, draft, in_vault, vault_folder, monkeypatch):
    assert cdv("policy", "check").exit_code == 1
    draft.rename(draft.parent / "policies")
    assert "policies: no mistakes" in cdv("policy", "check").stderr
    assert f"{vault_folder}/policies: no mistakes" in in_vault("policy", "check").stderr
    assert f"{vault_folder}/policies: no mistakes" in cdv("policy", "check", vault_folder).stderr


def test_missing_policy_folder(cdv):
    result = cdv("policy", "check", "nowhere")
    assert result.exit_code == 1
    assert "there is no such folder" in result.stdout


def test_changed_policies_are_applied_and_in_the_history(in_vault, vault_folder):
    assert in_vault.json("policy", "apply")[0]["changed"] is False
    before = in_vault.json("policy", "history")
    add_rule(vault_folder / "policies", GOOD_RULE)
    (applied,) = in_vault.json("policy", "apply")
    assert (applied["tenant"], applied["changed"]) == ("default", True)
    after = in_vault.json("policy", "history")
    assert [item["version"] for item in after] == [applied["version"], before[0]["version"]]
    assert "in force" in in_vault.ok("policy", "history").splitlines()[1]


def test_invalid_policies_are_not_applied(in_vault, vault_folder):
    before = in_vault.json("policy", "history")
    line = add_rule(vault_folder / "policies", BAD_RULE)
    result = in_vault("policy", "apply")
    assert result.exit_code == 1
    assert f"policy.csv:{line}:" in result.stderr
    assert "hint: `cdv policy check`" in result.stderr
    assert in_vault.json("policy", "history") == before


def test_policies_of_one_tenant_or_of_all(in_vault, vault_folder):
    in_vault.ok("tenants", "add", "brand-two")
    add_rule(vault_folder / "policies", GOOD_RULE)
    add_rule(vault_folder / "tenants" / "brand-two" / "policies", GOOD_RULE)
    (alone,) = in_vault.json("policy", "apply", "--tenant", "brand-two")
    assert (alone["tenant"], alone["changed"]) == ("brand-two", True)
    both = {item["tenant"]: item["changed"] for item in in_vault.json("policy", "apply", "--all")}
    assert both == {"brand-two": False, "default": True}


QUESTION = ("policy", "explain", "--role", "support", "--purpose", "customer-support")


def test_explanation_has_step_rule_and_remedy(in_vault):
    answer = in_vault.json(*QUESTION, "email.masked", "email", "health_notes")["fields"]
    assert (answer["email.masked"]["allowed"], answer["email.masked"]["step"]) == (True, 5)
    assert "p, support, *, email.masked, read, customer-support, allow" in answer["email.masked"]["rule"]
    assert (answer["email"]["code"], answer["email"]["step"]) == ("not-granted", 5)
    assert "Ask the privacy team" in answer["email"]["detail"]
    assert (answer["health_notes"]["code"], answer["health_notes"]["step"]) == ("purpose-excludes-field", 3)


def test_explanation_as_text(in_vault):
    text = in_vault.ok(*QUESTION, "email.masked", "email")
    assert "email.masked: allowed at step 5 (granted)" in text
    assert "email: denied at step 5 (not-granted)" in text
    assert "rule: policy.csv:" in text


def test_explanations_by_vault_and_folder_are_equal(in_vault, draft):
    question = ("policy", "explain", "--role", "marketing", "--purpose", "direct-marketing", "email", "birth_date")
    answer = in_vault.json(*question)
    assert (answer["fields"]["email"]["code"], answer["fields"]["email"]["step"]) == ("consent-missing", 7)
    assert answer["fields"]["birth_date"]["code"] == "purpose-excludes-field"
    assert in_vault.json(*question, "--policies", draft) == answer


def test_explanation_for_no_person_speaks_of_no_person(in_vault):
    question = ("policy", "explain", "--role", "marketing", "--purpose", "direct-marketing", "email")
    detail = in_vault.json(*question)["fields"]["email"]["detail"]
    assert "this person" not in detail
    assert "allowed for people who have given it" in detail


def test_a_folder_is_named_alike_to_check_and_to_explain(cdv, draft):
    assert cdv.json("policy", "check", "--policies", draft) == cdv.json("policy", "check", draft)
    answer = cdv.json(*QUESTION, "email", "--policies", draft)
    checkout = shutil.copytree(draft, draft.parent / "checkout" / "policies").parent
    assert cdv.json(*QUESTION, "email", "--policies", checkout) == answer
    assert cdv.json("policy", "check", checkout) == cdv.json("policy", "check", draft)
    twice = cdv("policy", "check", draft, "--policies", draft)
    assert twice.exit_code == 2
    assert "name the folder once" in twice.stderr


def test_draft_is_explained_without_a_vault(cdv, draft):
    add_rule(draft, "p, support, *, email, read, customer-support, allow\n")
    answer = cdv.json(*QUESTION, "email", "--policies", draft)
    assert answer["fields"]["email"]["allowed"] is True


def test_explanation_of_other_actions(in_vault):
    assert in_vault.json(*QUESTION, "email", "--action", "search")["fields"]["email"]["allowed"] is True
    assert in_vault.json(*QUESTION, "iban", "--action", "write")["fields"]["iban"]["allowed"] is False
    assert in_vault(*QUESTION, "email", "--action", "eat").exit_code == 2


def test_explanation_suggests_similar_names(in_vault):
    field = in_vault(*QUESTION, "name", "emial")
    assert field.exit_code == 1
    assert "error: number 2 of the fields does not exist\nhint: did you mean `email`?" in field.stderr
    purpose = in_vault("policy", "explain", "--role", "support", "--purpose", "customer-suport", "email")
    assert "hint: did you mean `customer-support`?" in purpose.stderr
    role = in_vault("policy", "explain", "--role", "suport", "--purpose", "customer-support", "name")
    assert role.exit_code == 0
    assert "warning: some roles are not in the policies" in role.stderr


def test_explanation_is_audited(in_vault):
    in_vault.ok(*QUESTION, "email.masked")
    assert "explain" in in_vault.ok("audit", "tail", "--action", "explain")


MARKETING = shipped()["notices/marketing@3.md"]
SELLER = Caller(Principal(PrincipalId(uuid4()), DEFAULT_TENANT, "shop", "app", (RoleName("sales"),)), "test")


def newer(number=4, *, front="", old="once", new="twice"):
    text = MARKETING.replace("marketing@3", f"marketing@{number}").replace(old, new)
    return text.replace('language = "en"\n', f'language = "en"\n{front}')


@pytest.fixture
def newer_policies(tmp_path):
    """A policy folder that is in force nowhere, with a newer version of a notice."""
    folder = shutil.copytree(shipped_policies(), tmp_path / "draft")
    (folder / "notices" / "marketing@4.md").write_text(newer())
    return folder


def consent(folder, *output):
    """Let somebody new say something about direct marketing for each (kind, notice)."""

    async def write():
        async with open_vault(folder) as vault:
            services, now = vault.services, vault.services.clock.now()
            for kind, notice in output:
                profile = ProfileInput({"name": "Somebody"}, "order-fulfilment")
                person = await create_subject(services, SELLER, profile)
                event = Event(
                    id=new_id(), subject=person.id, kind=kind, by="subject", purpose="direct-marketing", notice=notice,
                    method="checkbox", occurred_at=now, recorded_at=now,
                )  # fmt: skip
                async with services.data.transaction() as connection:
                    await append_events(services, connection, DEFAULT_TENANT, person.id, [event])

    asyncio.run(write())


def test_notices_are_listed_with_their_purposes(in_vault):
    lines = in_vault.ok("notices", "list").splitlines()
    assert lines[0].split("  ")[0] == "NOTICE"
    (marketing,) = [line.split("  ") for line in lines if line.startswith("marketing@3")]
    assert [cell.strip() for cell in marketing if cell] == ["marketing@3", "yes", "yes", "en, de", "direct-marketing"]

    (as_data,) = [item for item in in_vault.json("notices", "list") if item["notice"] == "marketing@3"]
    assert as_data["good_for"] == ["direct-marketing"]
    assert as_data["languages"].keys() == {"en", "de"}


def test_notice_is_shown_verbatim(in_vault):
    assert in_vault.ok("notices", "show", "marketing@3") == MARKETING
    german = in_vault.json("notices", "show", "marketing@3", "--language", "de")
    assert german["text"] == shipped()["notices/marketing@3.de.md"]
    assert in_vault.ok("notices", "show", german["digest"]) == german["text"]


def test_removed_notice_is_still_shown_and_compared(in_vault, vault_folder):
    file = vault_folder / "policies" / "notices" / "marketing@4.md"
    file.write_text(newer())
    in_vault.ok("policy", "apply")
    file.unlink()
    in_vault.ok("policy", "apply")

    assert "marketing@4" not in in_vault.ok("notices", "list")
    assert in_vault.ok("notices", "show", "marketing@4") == newer()
    assert "{+twice+}" in in_vault.ok("notices", "diff", "marketing@3", "marketing@4")


def test_unknown_notice_suggests_a_similar_one(in_vault):
    wrong = in_vault("notices", "show", "marketing@33")
    assert wrong.exit_code == 1
    assert "error: there is no such notice\nhint: did you mean `marketing@3`?" in wrong.stderr
    language = in_vault("notices", "show", "marketing@3", "--language", "fr")
    assert "error: the notice has no translation in that language" in language.stderr


def test_notices_are_compared_word_by_word(in_vault, newer_policies):
    text = in_vault.ok("notices", "diff", "marketing@3", "marketing@4", "--policies", newer_policies)
    assert "about [-once-] {+twice+} a week." in text
    assert "May we write to you?" not in text
    same = in_vault("notices", "diff", "marketing@3", "marketing@3")
    assert "The two texts are the same" in same.stderr


def test_front_matter_of_notices_is_compared(in_vault, newer_policies):
    (newer_policies / "notices" / "marketing@4.md").write_text(
        newer(front="material = false\n", old="2026-01-01", new="2099-05-01")
    )
    compared = in_vault.json("notices", "diff", "marketing@3", "marketing@4", "--policies", newer_policies)
    assert compared["front"] == {"material": [True, False], "valid_from": ["2026-01-01", "2099-05-01"]}
    assert compared["paragraphs"] == []
    assert compared["from"] == "2099-05-01"


def test_material_change_counts_people_to_ask_again(in_vault, vault_folder, newer_policies):
    consent(
        vault_folder,
        ("given", "marketing@3"),
        ("given", "marketing@3"),
        ("given", "marketing@2"),
        ("given", "marketing@4"),
        ("withdrawn", "marketing@3"),
        ("refused", "marketing@3"),
    )
    command = ("notices", "diff", "marketing@3", "marketing@4", "--policies", newer_policies)
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


def test_immaterial_change_keeps_current_consents(in_vault, vault_folder, newer_policies):
    consent(vault_folder, ("given", "marketing@3"), ("given", "marketing@2"))
    (newer_policies / "notices" / "marketing@4.md").write_text(newer(front="material = false\n"))
    (again,) = in_vault.json("notices", "diff", "marketing@3", "marketing@4", "--policies", newer_policies)["ask_again"]
    assert again["accepted"] == ["marketing@3", "marketing@4"]
    assert again["people"] == {"marketing@2": 1}


def test_invalid_policies_are_not_compared(in_vault, newer_policies):
    (newer_policies / "notices" / "marketing@4.md").write_text("Nothing but words.")
    result = in_vault("notices", "diff", "marketing@3", "marketing@4", "--policies", newer_policies)
    assert result.exit_code == 1
    assert "marketing@4.md:1: the notice has no front matter" in result.stderr


def test_changed_text_of_a_notice_in_force_is_found_by_a_check_of_the_vaults_folder(in_vault, cdv, vault_folder):
    file = vault_folder / "policies" / "notices" / "marketing@3.md"
    file.write_text(MARKETING + "\nAnd more.\n")
    for folder in ((), (vault_folder,), (vault_folder / "policies",)):
        result = in_vault("policy", "check", *folder)
        assert result.exit_code == 1
        assert "notices/marketing@3.md:1: marketing@3 has been in force with another text" in result.stdout
    # Another folder, or no vault: there is nothing in force to compare with.
    draft = shutil.copytree(vault_folder / "policies", vault_folder.parent / "draft")
    assert in_vault("policy", "check", draft).exit_code == 0
    assert cdv("policy", "check", vault_folder / "policies").exit_code == 0
    (vault_folder / "data.sqlite").unlink()
    unreachable = in_vault("policy", "check")
    assert unreachable.exit_code == 0
    assert "warning: the notices are not compared with those in force: " in unreachable.stderr


def test_changed_text_of_a_notice_needs_a_new_version(in_vault, vault_folder):
    file = vault_folder / "policies" / "notices" / "marketing@3.md"
    file.write_text(MARKETING + "\nAnd more.\n")
    result = in_vault("policy", "apply")
    assert result.exit_code == 1
    assert "notices/marketing@3.md:1: marketing@3 has been in force with another text" in result.stderr
    assert "marketing@4" in result.stderr


def test_an_index_that_does_not_lead_to_all_people_is_named_until_it_is_built(in_vault, vault_folder):
    file = vault_folder / "policies" / "catalogue.toml"
    whole = file.read_text()
    field = "[field.profile.email]\n"
    file.write_text(whole.replace(field, f"{field}search_bits = {{ exact = 64 }}\n"))
    in_vault.ok("policy", "apply")
    consent(vault_folder, ("given", "marketing@3"), ("given", "marketing@3"))
    file.write_text(whole)

    (applied,) = in_vault.json("policy", "apply")
    assert applied["not_covered"] == {"profile.email:exact": 2}
    again = in_vault("policy", "apply")
    assert "profile.email:exact does not lead to 2 people yet" in again.stderr
    listed = {index["name"]: index for index in in_vault.json("policy", "indexes")}
    assert listed["profile.email:exact"] == {
        "name": "profile.email:exact", "state": "building", "people": 0, "total": 2,
    }  # fmt: skip
    assert listed["profile.name:prefix"] == {"name": "profile.name:prefix", "state": "complete"}
    assert "0 of 2 people" in in_vault.ok("policy", "indexes")
    assert "goes on in" in in_vault("jobs", "run").stderr, "not every node follows the policies yet"

    in_vault.ok("policy", "indexes", "--rebuild", "email")
    assert in_vault.json("jobs", "run")[0]["code"] is None
    assert {index["state"] for index in in_vault.json("policy", "indexes")} == {"complete"}
    assert in_vault.json("policy", "apply")[0]["not_covered"] == {}


@pytest.mark.parametrize(("field", "message"), [("emial", "no such field"), ("notes", "the field has no index")])
def test_only_indexes_that_are_declared_are_built_again(in_vault, field, message):
    result = in_vault("policy", "indexes", "--rebuild", field)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "hint: `cdv policy indexes` lists" in result.stderr
