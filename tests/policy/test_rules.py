"""Reading policy.csv: invalid lines, and lines with unknown names, are refused with their numbers."""

from __future__ import annotations

import pytest

from tests.policy.folders import findings_of, only, shipped, with_rules
from vault.catalogue.toml_document import Findings
from vault.policy.rules import RuleReader

GOOD = "p, support, *, email.masked, read, customer-support, allow"


def place_of(*lines: str) -> tuple[str, str]:
    return only(shipped() | {"policy.csv": "\n".join(("# rules", GOOD, *lines))})


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("p, support, *, shoe_size, read, customer-support, allow", "unknown-field"),
        ("p, support, *, Email, read, customer-support, allow", "unknown-field"),
        ("p, support, *, email.hash, read, customer-support, allow", "unknown-field"),
        ("p, support, *, email..masked, read, customer-support, allow", "unknown-field"),
        ("p, support, *, gifts.*, read, customer-support, allow", "unknown-field"),
        ("p, support, *, vault:keys, read, *, allow", "unknown-resource"),
        ("p, support, *, vault:*, read, *, allow", "unknown-resource"),
        ("p, support, *, vault:audit, write, *, allow", "unknown-action"),
        ("p, support, *, vault:audit, read, customer-support, allow", "wrong-cell"),
        ("p, support, *, email, delete, customer-support, allow", "unknown-action"),
        ("p, support, *, email, *, customer-support, allow", "unknown-action"),
        ("p, support, *, email, READ, customer-support, allow", "unknown-action"),
        ("p, support, *, email.masked, write, customer-support, allow", "unknown-action"),
        ("p, support, *, gender, search, customer-support, allow", "not-searchable"),
        ("p, support, *, email, read, customer-suport, allow", "unknown-purpose"),
        ("p, support, *, email, read, customer-support, permit", "wrong-cell"),
        ("p, , *, email, read, customer-support, allow", "wrong-cell"),
        ("p, *, *, email, read, customer-support, allow", "wrong-cell"),
        ("p, Support, *, email, read, customer-support, allow", "wrong-cell"),
        ("p, support, , email, read, customer-support, allow", "wrong-cell"),
        ("p, support, Shop A, email, read, customer-support, allow", "wrong-cell"),
        ('p, "support", *, email, read, customer-support, allow', "wrong-cell"),
        ("p, support, *, \uff45mail, read, customer-support, allow", "wrong-cell"),
        ("p, support, *, email, read, customer-support", "wrong-columns"),
        ("p, support, *, email, read, customer-support, allow, deny", "wrong-columns"),
        ("q, support, *, email, read, customer-support, allow", "wrong-columns"),
        ("p2, support, *, email, read, customer-support, allow", "wrong-columns"),
        ("role,tenant,resource,action,purpose,effect", "wrong-columns"),
        (GOOD, "duplicate"),
        ("p,support,*,profile.email.masked,read,customer-support,allow", "duplicate"),
        ("g, sales", "wrong-columns"),
        ("g, sales, support, extra", "wrong-columns"),
        ("g, sales, ", "wrong-cell"),
        ("g, sales, suport", "unknown-role"),
        ("g, sales, sales", "circular-role"),
    ],
)
def test_an_invalid_line_is_refused_with_its_number(line, code):
    assert place_of(line) == ("policy.csv:3", code)


def test_circular_roles_are_refused():
    findings = findings_of(shipped() | {"policy.csv": f"{GOOD}\ng, a, support\ng, support, b\ng, b, a"})

    assert [(finding.line, finding.code) for finding in findings] == [(line, "circular-role") for line in (2, 3, 4)]


def test_a_duplicate_base_is_refused():
    assert place_of("g, sales, support", "g, sales, support") == ("policy.csv:4", "duplicate")


def test_an_opposite_rule_is_no_duplicate():
    assert len(with_rules(GOOD, GOOD.replace("allow", "deny")).rules.rules) == 2


def test_comments_blank_lines_and_line_ends_of_windows_are_no_rules():
    rules = with_rules("# p, x", "", "   ", GOOD + "\r", "\t" + GOOD.replace("support,", "dpo,", 1)).rules.rules

    assert [rule.line for rule in rules] == [4, 5]
    assert str(rules[0]) == f"policy.csv:4: {GOOD}"


def test_an_empty_table_is_valid_and_grants_nothing():
    assert with_rules("# nothing yet").rules.rules == ()


def test_every_mistake_of_a_table_is_found_at_once():
    findings = findings_of(shipped() | {"policy.csv": f"p, x\n{GOOD}\nq\np, s, *, e, read, p, no\n"})

    assert [(finding.line, finding.code) for finding in findings] == [
        (1, "wrong-columns"),
        (3, "wrong-columns"),
        (4, "unknown-field"),
        (4, "unknown-purpose"),
        (4, "wrong-cell"),
    ]


def test_a_role_reaches_all_its_bases():
    table = with_rules(GOOD, "g, a, b", "g, b, support", "g, c, support").rules

    assert table.reach("a") == {"a", "b", "support"}
    assert table.reach("support") == {"support"}
    assert table.roles == {"a", "b", "c", "support"}


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_one_mistake(sign, name):
    rules = [GOOD.replace(", ", sign), GOOD.replace(", ", sign), f'"g"{sign}"sales"{sign}"support"']
    (found,) = findings_of(shipped() | {"policy.csv": "\n".join(rules)})
    assert (found.line, found.code) == (1, "wrong-columns")
    assert name in found.message


def test_one_mistake_of_many_lines_is_said_once():
    rules = [f"q, role-{number}, *, email, read, customer-support, allow" for number in range(20)]
    (found,) = findings_of(shipped() | {"policy.csv": "\n".join((GOOD, *rules))})
    assert found.line == 2
    assert found.message.endswith("; so on 19 more lines (3, 4, 5, …)")


def test_the_same_mistake_of_few_lines_is_said_for_each():
    found = findings_of(shipped() | {"policy.csv": f"{GOOD}\nq\nq\nq"})
    assert [each.line for each in found] == [2, 3, 4]


def test_each_line_of_a_circle_is_reported_and_no_other():
    lines = ["p, z, *, name, read, *, allow", "g, a, b", "g, b, c", "g, c, a", "g, c, z", "g, x, a", "g, y, y"]
    findings = Findings()
    RuleReader(findings, None, None).read("\n".join(lines))
    assert [finding.line for finding in findings.sorted() if finding.code == "circular-role"] == [2, 3, 4, 7]
