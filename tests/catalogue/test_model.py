"""Names of fields and views, and what they cover."""

from __future__ import annotations

from datetime import date

import pytest

from tests.policy.folders import shipped
from vault.catalogue.model import Catalogue, UnknownName, covers
from vault.policy.policy_set import PolicySet

CATALOGUE = PolicySet.load(shipped()).catalogue


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("email", "profile.email.clear"),
        ("profile.email", "profile.email.clear"),
        ("email.clear", "profile.email.clear"),
        ("email.masked", "profile.email.masked"),
        ("profile.email.masked", "profile.email.masked"),
        ("birth_date.over_18", "profile.birth_date.over_18"),
        ("purchase.amount", "purchase.amount.clear"),
        ("family_member.birth_date.year", "family_member.birth_date.year"),
    ],
)
def test_short_and_whole_names_mean_the_same_view(name, whole):
    assert CATALOGUE.view(name).name == whole
    assert name in CATALOGUE


@pytest.mark.parametrize(
    "name",
    [
        "Email",
        "EMAIL",
        "email.Masked",
        "\uff45mail",  # full-width e
        "ema\u0456l",  # Cyrillic i
        "e\u200dmail",
        "email.",
        ".email",
        "email..masked",
        "profile..email",
        "profile.profile.email",
        " email",
        "email ",
        "email\n",
        "email\x00",
        "\x00",
        "",
        ".",
        "*",
        "profile.*",
        "profile",
        "purchase",
        "purchase.*",
        "amount",
        "email.over_18",
        "birth_date.over_19",
        "birth_date.over_018",
        "birth_date.over_n",
        "email.masked.masked",
        "email.masked.clear",
        "../email",
        "email%00",
        "email/masked",
        "vault:audit",
        "email" * 20_000,
    ],
)
def test_other_spelling_of_a_name_is_unknown_and_not_echoed(name):
    with pytest.raises(UnknownName) as caught:
        CATALOGUE.view(name)

    assert caught.value.code == "unknown-field"
    assert name not in CATALOGUE
    assert len(str(caught.value)) < 100


def test_every_view_has_one_whole_name():
    names = [view.name for view in CATALOGUE.views()]

    assert len(names) == len(set(names))
    assert all(CATALOGUE.view(name).name == name for name in names)


def test_a_field_is_found_by_its_name_with_or_without_the_profile():
    assert CATALOGUE.field("email") is CATALOGUE.field("profile.email")
    assert CATALOGUE.field("purchase.amount").whole == "purchase.amount"
    for name in ("amount", "email.masked", "profile", "Email"):
        with pytest.raises(UnknownName):
            CATALOGUE.field(name)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("email", "profile.email"),
        ("profile.email", "profile.email"),
        ("email.clear", "profile.email.clear"),
        ("email.masked", "profile.email.masked"),
        ("purchase.*", "purchase.*"),
        ("purchase.amount", "purchase.amount"),
        ("*", "*"),
    ],
)
def test_canonical_names_distinguish_a_field_from_its_views(name, canonical):
    assert CATALOGUE.canonical(name) == canonical


@pytest.mark.parametrize("name", ["nothing.*", "email.*", "*.email", "**", "purchase.", "email.none", "*.*"])
def test_a_name_that_is_not_declared_is_unknown(name):
    with pytest.raises(UnknownName):
        CATALOGUE.canonical(name)


@pytest.mark.parametrize(
    ("granted", "covered", "left_out"),
    [
        ("*", ["profile.email.clear", "purchase.amount.clear"], ["vault:audit", "vault:subjects"]),
        ("purchase.*", ["purchase.amount.clear"], ["profile.email.clear", "purchases.x.clear", "vault:audit"]),
        ("profile.email", ["profile.email.clear", "profile.email.masked"], ["profile.email_secondary.clear"]),
        ("profile.email.masked", ["profile.email.masked"], ["profile.email.clear", "profile.email.masked_more"]),
        ("profile.email.clear", ["profile.email.clear"], ["profile.email.masked"]),
        ("vault:audit", ["vault:audit"], ["vault:auditing", "vault:subjects", "profile.email.clear"]),
    ],
)
def test_a_granted_name_covers_its_own_views_only(granted, covered, left_out):
    assert all(covers(name, granted) for name in covered)
    assert not any(covers(name, granted) for name in left_out)


def test_covered_agrees_with_covers():
    names = ["*", "purchase.*", "profile.*", "profile.email", "profile.email.masked", "profile.birth_date.clear"]

    for name in names:
        assert CATALOGUE.covered([name]) == {view.name for view in CATALOGUE.views() if covers(view.name, name)}


def test_empty_catalogue_has_no_views():
    assert list(Catalogue([]).views()) == []
    assert Catalogue([]).covered(["*"]) == frozenset()


def test_a_purpose_is_in_force_from_its_first_to_its_last_day():
    files = shipped()
    dated = "[accounting]\nvalid_from = 2026-03-05\nvalid_until = 2026-03-31"
    files["purposes.toml"] = files["purposes.toml"].replace("[accounting]", dated)
    purpose = PolicySet.load(files).purposes["accounting"]

    assert not purpose.in_force(date(2026, 3, 4))
    assert purpose.in_force(date(2026, 3, 5))
    assert purpose.in_force(date(2026, 3, 31))
    assert not purpose.in_force(date(2026, 4, 1))


def test_a_purpose_needs_the_views_that_it_names():
    purposes = PolicySet.load(shipped()).purposes
    fulfilment = purposes["order-fulfilment"]

    assert fulfilment.covers(CATALOGUE.view("birth_date.over_18"))
    assert not fulfilment.covers(CATALOGUE.view("birth_date"))
    assert not fulfilment.covers(CATALOGUE.view("health_notes"))
    assert fulfilment.covers(CATALOGUE.view("purchase.amount"))
