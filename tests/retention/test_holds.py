"""Which values a hold covers, and for which purposes they may be used."""

from __future__ import annotations

from vault.consent.model import ConsentState, Held, purposes_of
from vault.retention.holds import blocking_hold, held_by

BOOKS = Held(b"a" * 16, "legal-claims", ("accounting",), ("purchase.*", "profile.email"), 100, 200)
ALL = Held(b"b" * 16, "fraud-prevention")


def test_hold_covers_records_of_its_days_inclusive():
    standing = ConsentState(holds=(BOOKS,))
    covered = [day for day in (99, 100, 200, 201) if held_by(standing, "purchase.amount", day)]
    assert covered == [100, 200]
    assert held_by(standing, "complaint.body", 150) is None
    assert held_by(ConsentState(), "purchase.amount", 150) is None


def test_hold_covers_the_profile_on_all_days_and_generalised_values():
    standing = ConsentState(holds=(BOOKS,))
    assert held_by(standing, "profile.email", 1) == BOOKS
    assert held_by(standing, "profile.email.domain", 1) == BOOKS
    assert held_by(standing, "profile.email_secondary", 1) is None


def test_held_value_is_used_for_the_holds_purposes_only():
    standing = ConsentState(holds=(BOOKS,))
    asked = ("legal-claims", "accounting", "customer-support")
    assert [blocking_hold(standing, purpose, "purchase.amount", 150) for purpose in asked] == [None, None, BOOKS]
    assert blocking_hold(standing, "customer-support", "purchase.amount", 99) is None


def test_two_holds_permit_other_purposes_only_together():
    standing = ConsentState(holds=(BOOKS, ALL))
    asked = ("legal-claims", "fraud-prevention", "accounting")
    assert [blocking_hold(standing, purpose, "purchase.amount", 150) for purpose in asked] == [None, None, ALL]
    assert blocking_hold(standing, "accounting", "purchase.amount", 201) == ALL
    assert purposes_of(standing.holds) == ("accounting", "fraud-prevention", "legal-claims")
