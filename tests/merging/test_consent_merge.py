"""What of one person's words goes along in a merge: nothing that widens, and every no."""

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
    for each in moving_events(standing, theirs):
        standing = apply(standing, each)
    return standing


def kinds(own, theirs):
    return [each.kind for each in moving_events(fold(own), theirs)]


def test_a_yes_goes_along_to_somebody_who_never_said_a_word():
    after = merged([], [event("given", 1, notice="news@2", method="checkbox")])
    assert after.purposes["news"].state == "given"
    assert after.purposes["news"].notice == "news@2"


def test_a_copy_names_its_original_and_the_merge():
    given = event("given", 1)
    (copy,) = moving_events(fold([]), [given])
    assert (copy.origin, copy.answers) == ("merged", given.id)


def test_a_younger_yes_changes_nothing_for_somebody_who_said_no():
    own = [event("refused", 1)]
    assert merged(own, [event("given", 9)]).purposes["news"].state == "refused"


def test_a_yes_that_changes_nothing_stays_as_proof():
    assert kinds([event("refused", 1)], [event("given", 9)]) == ["given"]


def test_a_younger_yes_does_not_take_the_place_of_ones_own():
    own = [event("given", 1, notice="news@1")]
    theirs = [event("given", 9, notice="news@2")]
    assert merged(own, theirs).purposes["news"].notice == "news@1"
    assert kinds(own, theirs) == []


def test_an_older_no_counts_all_the_same():
    own = [event("given", 9)]
    assert merged(own, [event("withdrawn", 1)]).purposes["news"].state == "withdrawn"


def test_the_last_word_of_the_other_counts_and_not_an_earlier_one():
    theirs = [event("given", 1), event("withdrawn", 2), event("given", 3)]
    assert kinds([], theirs) == ["given", "given"]
    assert merged([], theirs).purposes["news"].state == "given"


def test_what_was_agreed_to_before_a_withdrawal_stays_as_proof():
    theirs = [event("given", 1), event("renewed", 2), event("withdrawn", 3)]
    assert kinds([], theirs) == ["given", "renewed", "withdrawn"]
    assert merged([], theirs).purposes["news"].state == "withdrawn"


def test_an_objection_stands_for_both():
    own = [event("given", 9)]
    after = merged(own, [event("objected", 1)])
    assert after.purposes["news"].objection == "pending"


def test_a_final_objection_takes_the_consent_along():
    own = [event("given", 9)]
    after = merged(own, [event("given", 1), event("objected", 2, final=True)])
    assert after.purposes["news"].objection == "upheld"
    assert after.purposes["news"].state == "withdrawn"


def test_an_objection_that_was_upheld_is_upheld():
    theirs = [event("objected", 1), event("objection-upheld", 2, by="staff")]
    assert merged([], theirs).purposes["news"].objection == "upheld"


def test_an_objection_that_was_overruled_or_taken_back_does_not_come_up_again():
    assert kinds([], [event("objected", 1), event("objection-overruled", 2, by="staff")]) == []
    taken_back = [event("objected", 1), event("given", 2)]
    assert merged([], taken_back).purposes["news"].objection == "none"


def test_a_restriction_goes_along_and_one_that_was_lifted_does_not():
    restricted = [event("restricted", 1, None), event("restriction-lifted", 2, None)]
    assert merged([], restricted).restricted_at is None
    restricted.append(event("restricted", 3, None))
    assert merged([], restricted).restricted_at is not None


def test_to_somebody_restricted_no_yes_is_added_that_counts():
    own = [event("restricted", 1, None)]
    assert merged(own, [event("given", 9)]).purposes == {}


def test_an_opt_in_that_waits_to_be_confirmed_does_not_go_along():
    assert kinds([], [event("requested", 1)]) == []


def test_an_end_by_itself_does_not_end_ones_own_consent():
    own = [event("given", 1)]
    assert merged(own, [event("given", 1), event("expired", 9, origin="system")]).purposes["news"].state == "given"
