"""What loads and is likely not meant: rules that open nothing, and files that are not read."""

from __future__ import annotations

import shutil

import pytest

from tests.policy.folders import SHIPPED, changed, with_rules
from vault.policy.decision import Decisions
from vault.policy.lint import idle_rules, unknown_files
from vault.policy.policy_set import PolicySet
from vault.policy.rules import RESOURCES

GOOD = "p, support, *, email.masked, read, customer-support, allow"


def idle(*lines, tenant="default"):
    return [(found.line, found.message) for found in idle_rules(with_rules(GOOD, *lines), tenant)]


def test_every_shipped_rule_opens_something_and_every_shipped_file_is_read():
    assert idle_rules(PolicySet.from_folder(SHIPPED), "default") == []
    assert unknown_files(SHIPPED) == []


@pytest.mark.parametrize(
    "rule",
    [
        "p, support, *, iban, read, customer-support, allow",
        "p, support, *, iban.last_4, read, customer-support, allow",
        "p, support, *, iban, write, customer-support, allow",
    ],
)
def test_a_rule_for_what_its_purpose_does_not_need_opens_nothing(rule):
    ((line, message),) = idle(rule)
    assert line == 2
    assert message.startswith("the rule opens nothing: ")
    _, role, _, resource, action, purpose, _ = (cell.strip() for cell in rule.split(","))
    decisions = Decisions(with_rules(GOOD, rule), "default")
    assert not decisions.decide_now((role,), purpose, (resource,), action).granted


@pytest.mark.parametrize(
    "rule",
    [
        "p, support, *, email, search, customer-support, allow",
        "p, support, *, *, read, customer-support, allow",
        "p, support, *, email, read, *, allow",
        "p, support, acme, email, read, customer-support, allow",
        "p, support, *, vault:audit, read, *, allow",
        "p, support, *, email, write, customer-support, deny",
    ],
)
def test_a_rule_that_opens_something_or_denies_is_meant(rule):
    assert idle(rule) == []


def test_a_rule_that_a_denial_outweighs_opens_nothing():
    denied = ("p, base, *, phone, read, *, deny", "g, support, base")
    ((line, message),) = idle("p, support, *, phone, read, customer-support, allow", *denied)
    assert line == 2
    assert "`policy.csv:3: p, base, *, phone, read, *, deny` outweighs it" in message
    ((line, _),) = idle("p, support, *, vault:audit, read, *, allow", "p, support, *, vault:audit, read, *, deny")
    assert line == 2
    # A denial of a part leaves the rest open.
    assert (
        idle("p, support, *, phone, read, customer-support, allow", "p, support, *, phone.clear, read, *, deny") == []
    )
    assert "vault:audit" in RESOURCES


def test_a_denial_of_another_tenant_outweighs_nothing():
    rules = ("p, support, *, phone, read, customer-support, allow", "p, support, acme, phone, read, *, deny")
    assert idle(*rules) == []
    assert [line for line, _ in idle(*rules, tenant="acme")] == [2]


def test_a_rule_for_a_purpose_that_has_not_begun_is_meant():
    files = changed("purposes.toml", "[customer-support]\n", "[customer-support]\nvalid_from = 2999-01-01\n")
    policy_set = PolicySet.load(files | {"policy.csv": GOOD})
    assert idle_rules(policy_set, "default") == []


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("word.de.toml", "did you mean `words.de.toml`?"),
        ("words.deu.toml", "name the language by its two letters"),
        ("Policy.csv", "did you mean `policy.csv`?"),
        ("policy.csv.bak", "did you mean `policy.csv`?"),
        ("notice/marketing@4.md", "did you mean `notices`?"),
        ("notices/marketing@4.txt", "call a notice `name@version.md`"),
    ],
)
def test_a_file_of_another_name_is_not_read(tmp_path, name, remedy):
    folder = shutil.copytree(SHIPPED, tmp_path / "policies")
    for harmless in (".git", "README.md", "notices/README"):
        (folder / harmless).write_text("")
    assert unknown_files(folder) == []
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    (found,) = unknown_files(folder)
    assert name.startswith(found.file)
    assert found.remedy.startswith(remedy)


def test_a_folder_that_is_not_there_has_no_files(tmp_path):
    assert unknown_files(tmp_path / "nowhere") == []
