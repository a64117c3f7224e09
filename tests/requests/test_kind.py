"""On which grounds a request may be refused."""

from __future__ import annotations

import re

import pytest

from vault.workflows import REQUEST_KINDS


@pytest.mark.parametrize("kind", REQUEST_KINDS)
@pytest.mark.parametrize("regime", ["gdpr", "ccpa"])
def test_every_ground_has_its_article(kind, regime):
    grounds = REQUEST_KINDS[kind].refusal_grounds(regime)
    assert "identity-not-shown" in grounds
    for code, ground in grounds.items():
        assert code == ground.code
        assert re.fullmatch(r"[a-z][a-z-]{1,60}", code)
        assert ground.title
        assert ("GDPR" in ground.article(regime)) == (regime == "gdpr")


def test_erasure_is_refused_on_the_grounds_of_article_17_3_and_no_others():
    grounds = {
        code for code, ground in REQUEST_KINDS["erasure"].refusal_grounds("gdpr").items() if "17(3)" in ground.gdpr
    }
    assert grounds == {"freedom-of-expression", "legal-obligation", "public-health", "archiving", "legal-claims"}
    assert "contract-under-way" not in REQUEST_KINDS["erasure"].refusal_grounds("gdpr")
    assert "contract-under-way" in REQUEST_KINDS["erasure"].refusal_grounds("ccpa")


def test_a_withdrawal_and_an_objection_to_direct_marketing_have_no_general_grounds():
    assert set(REQUEST_KINDS["withdrawal"].refusal_grounds("gdpr")) == {"identity-not-shown", "no-consent"}
    assert set(REQUEST_KINDS["objection"].refusal_grounds("gdpr", final=True)) == {"identity-not-shown"}
    assert "compelling-grounds" in REQUEST_KINDS["objection"].refusal_grounds("gdpr")


def test_a_ground_without_an_article_of_a_law_does_not_exist_under_it():
    assert "not-portable" in REQUEST_KINDS["portability"].refusal_grounds("gdpr")
    assert "not-portable" not in REQUEST_KINDS["portability"].refusal_grounds("ccpa")
