"""On which grounds a request may be refused."""

from __future__ import annotations

import re

import pytest

from vault.requests.model import KINDS, grounds_for


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("regime", ["gdpr", "ccpa"])
def test_every_ground_has_its_article(kind, regime):
    found = grounds_for(kind, regime)
    assert "identity-not-shown" in found
    for code, ground in found.items():
        assert code == ground.code
        assert re.fullmatch(r"[a-z][a-z-]{1,60}", code)
        assert ground.title
        assert ("GDPR" in ground.article(regime)) == (regime == "gdpr")


def test_erasure_is_refused_on_the_grounds_of_article_17_3_and_no_others():
    own = {code for code, each in grounds_for("erasure", "gdpr").items() if "17(3)" in each.gdpr}
    assert own == {"freedom-of-expression", "legal-obligation", "public-health", "archiving", "legal-claims"}
    assert "contract-under-way" not in grounds_for("erasure", "gdpr")
    assert "contract-under-way" in grounds_for("erasure", "ccpa")


def test_a_withdrawal_and_an_objection_to_direct_marketing_are_not_weighed():
    assert set(grounds_for("withdrawal", "gdpr")) == {"identity-not-shown", "no-consent"}
    assert set(grounds_for("objection", "gdpr", final=True)) == {"identity-not-shown"}
    assert "compelling-grounds" in grounds_for("objection", "gdpr")


def test_what_rests_on_no_article_of_a_law_is_no_ground_under_it():
    assert "not-portable" in grounds_for("portability", "gdpr")
    assert "not-portable" not in grounds_for("portability", "ccpa")
