"""Policies: checked with and without a vault, applied, looked back on, explained."""

from __future__ import annotations

import shutil

import pytest

from vault.bootstrap import shipped_policies

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


def test_a_sound_folder_is_checked_without_a_vault(cdv, draft):
    result = cdv("policy", "check", draft)
    assert result.exit_code == 0
    assert "no mistakes" in result.stderr
    assert cdv.json("policy", "check", draft)["findings"] == []


def test_every_mistake_is_told_with_file_line_and_remedy(cdv, draft):
    first = add_rule(draft, BAD_RULE)
    second = add_rule(draft, "p, support\n")
    result = cdv("policy", "check", draft)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{draft}/policy.csv:{first}: ")
    assert lines[1].startswith("    remedy: ")
    assert lines[2].startswith(f"{draft}/policy.csv:{second}: ")
    assert result.stderr == "error: the policies have 2 mistakes\n"


def test_scripts_get_the_mistakes_as_json(cdv, draft):
    import json

    line = add_rule(draft, BAD_RULE)
    result = cdv("policy", "check", draft, "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["file"], finding["line"]) == ("policy.csv", line)
    assert finding["message"]
    assert finding["remedy"]


def test_without_a_name_the_folder_at_hand_is_checked(cdv, draft, in_vault, vault_folder, monkeypatch):
    assert cdv("policy", "check").exit_code == 1
    draft.rename(draft.parent / "policies")
    assert "policies: no mistakes" in cdv("policy", "check").stderr
    assert f"{vault_folder}/policies: no mistakes" in in_vault("policy", "check").stderr
    assert f"{vault_folder}/policies: no mistakes" in cdv("policy", "check", vault_folder).stderr


def test_a_folder_that_is_not_there(cdv):
    result = cdv("policy", "check", "nowhere")
    assert result.exit_code == 1
    assert "there is no such folder" in result.stdout


def test_a_changed_folder_is_applied_and_is_in_the_history(in_vault, vault_folder):
    assert in_vault.json("policy", "apply")[0]["changed"] is False
    before = in_vault.json("policy", "history")
    add_rule(vault_folder / "policies", GOOD_RULE)
    (applied,) = in_vault.json("policy", "apply")
    assert (applied["tenant"], applied["changed"]) == ("default", True)
    after = in_vault.json("policy", "history")
    assert [each["version"] for each in after] == [applied["version"], before[0]["version"]]
    assert "in force" in in_vault.ok("policy", "history").splitlines()[1]


def test_a_folder_with_mistakes_changes_nothing(in_vault, vault_folder):
    before = in_vault.json("policy", "history")
    line = add_rule(vault_folder / "policies", BAD_RULE)
    result = in_vault("policy", "apply")
    assert result.exit_code == 1
    assert f"policy.csv:{line}:" in result.stderr
    assert "hint: `cdv policy check`" in result.stderr
    assert in_vault.json("policy", "history") == before


def test_one_tenant_is_applied_or_all_of_them(in_vault, vault_folder):
    in_vault.ok("tenants", "add", "brand-two")
    add_rule(vault_folder / "policies", GOOD_RULE)
    add_rule(vault_folder / "tenants" / "brand-two" / "policies", GOOD_RULE)
    (alone,) = in_vault.json("policy", "apply", "--tenant", "brand-two")
    assert (alone["tenant"], alone["changed"]) == ("brand-two", True)
    both = {each["tenant"]: each["changed"] for each in in_vault.json("policy", "apply", "--all")}
    assert both == {"brand-two": False, "default": True}


QUESTION = ("policy", "explain", "--role", "support", "--purpose", "customer-support")


def test_explaining_tells_step_rule_and_remedy(in_vault):
    told = in_vault.json(*QUESTION, "email.masked", "email", "health_notes")["fields"]
    assert (told["email.masked"]["allowed"], told["email.masked"]["step"]) == (True, 5)
    assert "p, support, *, email.masked, read, customer-support, allow" in told["email.masked"]["rule"]
    assert (told["email"]["code"], told["email"]["step"]) == ("not-granted", 5)
    assert "Ask the privacy team" in told["email"]["detail"]
    assert (told["health_notes"]["code"], told["health_notes"]["step"]) == ("purpose-excludes-field", 3)


def test_explaining_is_readable(in_vault):
    text = in_vault.ok(*QUESTION, "email.masked", "email")
    assert "email.masked: allowed at step 5 (granted)" in text
    assert "email: denied at step 5 (not-granted)" in text
    assert "rule: policy.csv:" in text


def test_consent_is_what_marketing_lacks_in_both_ways_of_asking(in_vault, draft):
    question = ("policy", "explain", "--role", "marketing", "--purpose", "direct-marketing", "email", "birth_date")
    told = in_vault.json(*question)
    assert (told["fields"]["email"]["code"], told["fields"]["email"]["step"]) == ("consent-missing", 7)
    assert told["fields"]["birth_date"]["code"] == "purpose-excludes-field"
    assert in_vault.json(*question, "--policies", draft) == told


def test_a_draft_is_explained_without_a_vault(cdv, draft):
    add_rule(draft, "p, support, *, email, read, customer-support, allow\n")
    told = cdv.json(*QUESTION, "email", "--policies", draft)
    assert told["fields"]["email"]["allowed"] is True


def test_writing_and_searching_are_explained_too(in_vault):
    assert in_vault.json(*QUESTION, "email", "--action", "search")["fields"]["email"]["allowed"] is True
    assert in_vault.json(*QUESTION, "iban", "--action", "write")["fields"]["iban"]["allowed"] is False
    assert in_vault(*QUESTION, "email", "--action", "eat").exit_code == 2


def test_what_does_not_exist_leads_to_what_does(in_vault):
    field = in_vault(*QUESTION, "name", "emial")
    assert field.exit_code == 1
    assert "error: number 2 of the fields does not exist\nhint: did you mean `email`?" in field.stderr
    purpose = in_vault("policy", "explain", "--role", "support", "--purpose", "customer-suport", "email")
    assert "hint: did you mean `customer-support`?" in purpose.stderr
    role = in_vault("policy", "explain", "--role", "suport", "--purpose", "customer-support", "name")
    assert role.exit_code == 0
    assert "warning: some roles are not in the policies" in role.stderr


def test_explaining_from_what_is_in_force_is_on_the_audit_log(in_vault):
    in_vault.ok(*QUESTION, "email.masked")
    assert "explain" in in_vault.ok("audit", "tail", "--action", "explain")
