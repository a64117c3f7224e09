"""Which consent events move in a merge: every refusal, and nothing that grants more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from vault.consent.model import Event, apply, fold
from vault.consent.personal_data import moving_events
from vault.ids import new_id

WHO = UUID(int=1)
DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def event(kind, day, purpose="news", **more):
    at = START + day * DAY
    about = {} if purpose is None else {"purpose": purpose}
    return Event(
        id=new_id(),
        subject=WHO,
        kind=kind,
        by=more.pop("by", "subject"),
        occurred_at=at,
        recorded_at=at,
        **about,
        **more,
    )


def merged(own, theirs):
    standing = fold(own)
    for item in moving_events(standing, theirs):
        standing = apply(standing, item)
    return standing


def kinds(own, theirs):
    return [item.kind for item in moving_events(fold(own), theirs)]


def test_consent_moves_to_a_survivor_without_events():
    after = merged([], [event("given", 1, notice="news@2", method="checkbox")])
    assert after.purposes["news"].state == "given"
    assert after.purposes["news"].notice == "news@2"


def test_moved_event_names_its_original_and_the_merge():
    given = event("given", 1)
    (copy,) = moving_events(fold([]), [given])
    assert (copy.origin, copy.answers) == ("merged", given.id)


def test_later_consent_does_not_override_the_survivors_refusal():
    own = [event("refused", 1)]
    assert merged(own, [event("given", 9)]).purposes["news"].state == "refused"


def test_consent_without_effect_is_kept_as_evidence():
    assert kinds([event("refused", 1)], [event("given", 9)]) == ["given"]


def test_later_consent_does_not_replace_the_survivors_own():
    own = [event("given", 1, notice="news@1")]
    theirs = [event("given", 9, notice="news@2")]
    assert merged(own, theirs).purposes["news"].notice == "news@1"
    assert kinds(own, theirs) == []


def test_earlier_refusal_of_the_duplicate_counts():
    own = [event("given", 9)]
    assert merged(own, [event("withdrawn", 1)]).purposes["news"].state == "withdrawn"


def test_only_the_duplicates_last_decision_counts():
    theirs = [event("given", 1), event("withdrawn", 2), event("given", 3)]
    assert kinds([], theirs) == ["given", "given"]
    assert merged([], theirs).purposes["news"].state == "given"


def test_consent_before_a_withdrawal_is_kept_as_evidence():
    theirs = [event("given", 1), event("renewed", 2), event("withdrawn", 3)]
    assert kinds([], theirs) == ["given", "renewed", "withdrawn"]
    assert merged([], theirs).purposes["news"].state == "withdrawn"


def test_objection_of_the_duplicate_is_kept():
    own = [event("given", 9)]
    after = merged(own, [event("objected", 1)])
    assert after.purposes["news"].objection == "pending"


def test_final_objection_ends_the_consent():
    own = [event("given", 9)]
    after = merged(own, [event("given", 1), event("objected", 2, final=True)])
    assert after.purposes["news"].objection == "upheld"
    assert after.purposes["news"].state == "withdrawn"


def test_upheld_objection_stays_upheld():
    theirs = [event("objected", 1), event("objection-upheld", 2, by="staff")]
    assert merged([], theirs).purposes["news"].objection == "upheld"


def test_overruled_or_withdrawn_objection_is_not_reopened():
    assert kinds([], [event("objected", 1), event("objection-overruled", 2, by="staff")]) == []
    taken_back = [event("objected", 1), event("given", 2)]
    assert merged([], taken_back).purposes["news"].objection == "none"


def test_restriction_moves_unless_it_was_lifted():
    restricted = [event("restricted", 1, None), event("restriction-lifted", 2, None)]
    assert merged([], restricted).restricted_at is None
    restricted.append(event("restricted", 3, None))
    assert merged([], restricted).restricted_at is not None


def test_consent_has_no_effect_for_a_restricted_survivor():
    own = [event("restricted", 1, None)]
    assert merged(own, [event("given", 9)]).purposes == {}


def test_pending_opt_in_does_not_move():
    assert kinds([], [event("requested", 1)]) == []


def test_expiry_of_the_duplicates_consent_does_not_end_the_survivors():
    own = [event("given", 1)]
    assert merged(own, [event("given", 1), event("expired", 9, origin="system")]).purposes["news"].state == "given"
