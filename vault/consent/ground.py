"""Step 7 of a read: the legal ground holds at this moment for this person (Art. 6 and 9 GDPR). Pure."""

from __future__ import annotations

from typing import Final

from vault.errors import Refusal

NEEDS_CONSENT: Final = frozenset({"consent"})
"""Legal bases (Art. 6(1)) that rest on what the person said; the condition of Art. 9(2)(a) does too."""

NEEDS_CONSENT_ARTICLE_9: Final = frozenset({"explicit-consent"})


def refusal(purpose: str, legal_basis: str, article9: str | None, *, consented: bool) -> Refusal | None:
    """Tell why the ground of a purpose does not hold for one person; none where it holds.

    Args:
        purpose: its name.
        legal_basis: its basis of Art. 6(1), as ``purposes.toml`` writes it.
        article9: its condition of Art. 9(2), if it has one.
        consented: whether the person's consent to this purpose is on record, current and unexpired.

    Contract, legal obligation, vital interest, public task and legitimate interest hold by what the purpose declares;
    consent holds only where the person gave it.
    """
    rests_on_consent = legal_basis in NEEDS_CONSENT or article9 in NEEDS_CONSENT_ARTICLE_9
    if not rests_on_consent or consented:
        return None
    return Refusal(
        code="consent-missing",
        detail="This purpose rests on consent and there is none on record for this person. Ask the person, or use a "
        "purpose with another legal basis if one truly applies.",
        rule=f"purposes.toml: {purpose}: legal_basis",
    )
