"""Reading translations: they may only name what the other files declare."""

from __future__ import annotations

import pytest

from tests.policy.folders import changed, only, shipped
from vault.catalogue.model import Origin
from vault.policy.policy_set import PolicySet

FILE = "words.de.toml"


def test_texts_without_a_translation_stay_untranslated():
    files = shipped() | {
        "words.it.toml": '[field.profile]\nname = "Nome"\n[purpose.accounting]\ntitle = "Contabilità"\n'
    }
    policies = PolicySet.load(files)
    words = policies.words_in("it")

    assert words.field(policies.catalogue.field("name")) == "Nome"
    assert words.field(policies.catalogue.field("email")) == "E-mail address"
    assert words.purpose("accounting", "title", "Keep the books") == "Contabilità"
    assert words.purpose("accounting", "reason", "because") == "because"
    assert policies.words_in("pt").collection("profile", "Profile") == "Profile"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('profile = "Profil"', 'profle = "Profil"', "unknown-name"),
        ('profile = "Profil"', "profile = 7", "wrong-value"),
        ('given_name = "Vorname"', 'first_name = "Vorname"', "unknown-name"),
        ("[field.loyalty]", "[field.loyalties]", "unknown-collection"),
        ("[purpose.accounting]", "[purpose.acounting]", "unknown-purpose"),
        ('title = "Bücher führen"', 'titel = "Bücher führen"', "unknown-key"),
        ("[other]", "[others]", "unknown-key"),
        ("[other]", "[other", "toml-syntax"),
    ],
)
def test_a_mistake_is_reported_with_its_file(old, new, code):
    where, findings = only(changed(FILE, old, new))

    assert findings == code
    assert where.startswith(f"{FILE}:")


def test_a_field_declares_origin_and_others():
    catalogue = PolicySet.load(shipped()).catalogue

    assert catalogue.field("email").origin is Origin.PROVIDED
    assert catalogue.field("purchase.amount").origin is Origin.OBSERVED
    assert catalogue.field("offer.title").origin is Origin.OURS
    assert catalogue.field("offer.status").origin is Origin.OBSERVED
    assert catalogue.field("social_post.sentiment").origin is Origin.INFERRED
    assert {field.whole for field in catalogue.fields() if field.others} == {
        "interaction.author",
        "family_member.name",
        "family_member.birth_date",
    }


def test_a_collection_sets_defaults_for_its_fields():
    files = changed("catalogue.toml", "[collection.loyalty]", "[collection.loyalty]\nothers = true")
    files["catalogue.toml"] = files["catalogue.toml"].replace(
        "[field.loyalty.card]", "[field.loyalty.card]\nothers = false"
    )
    catalogue = PolicySet.load(files).catalogue

    assert catalogue.field("loyalty.tier").others
    assert not catalogue.field("loyalty.card").others


@pytest.mark.parametrize(
    ("file", "old", "new", "code"),
    [
        ("catalogue.toml", 'origin = "inferred"', 'origin = "guessed"', "wrong-value"),
        ("catalogue.toml", "others = true", 'others = "yes"', "wrong-value"),
        ("purposes.toml", 'owner = "Fulfilment"', 'owner = "F"\ntransfers = { UK = "SCC" }', "wrong-value"),
        ("purposes.toml", 'owner = "Fulfilment"', 'owner = "F"\ntransfers = { US = 7 }', "wrong-value"),
        ("purposes.toml", 'owner = "Fulfilment"', 'owner = "F"\nautomated_decision = true\nlogic = "L"', "missing-key"),
        ("controller.toml", 'name = "Data Protection Commission"\n', "", "missing-key"),
        ("controller.toml", '"https://www.dataprotection.ie"', '"dataprotection.ie"', "wrong-value"),
    ],
)
def test_texts_for_people_are_checked(file, old, new, code):
    where, findings = only(changed(file, old, new))

    assert findings == code
    assert where.startswith(f"{file}:")


def test_a_purpose_declares_automated_decisions_and_transfers():
    more = 'owner = "F"\nautomated_decision = true\nlogic = "L"\nconsequences = "C"\ntransfers = { US = "SCC" }'
    purpose = PolicySet.load(changed("purposes.toml", 'owner = "Fulfilment"', more)).purposes["order-fulfilment"]

    assert purpose.automated_decision
    assert (purpose.logic, purpose.consequences, dict(purpose.transfers)) == ("L", "C", {"US": "SCC"})


def test_the_authority_is_read_as_declared():
    authority = PolicySet.load(shipped()).controller.authority

    assert authority is not None
    assert (authority.name, authority.url) == ("Data Protection Commission", "https://www.dataprotection.ie")
