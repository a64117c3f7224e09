"""The state of a person: a denial wins until the person says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.consent.model import (
    CONSENT,
    NOTHING,
    OBJECTION,
    RESTRICTION,
    ConsentState,
    Event,
    apply,
    decode,
    encode,
    fold,
    pack,
    unpack,
)
from vault.ids import new_id

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WHO = new_id()
P = "direct-marketing"


def event(kind, hours=0, *, purpose=P, origin="recorded", by="subject", **facts):
    at = NOON + timedelta(hours=hours)
    if kind in RESTRICTION:
        purpose = None
    return Event(
        id=new_id(),
        subject=WHO,
        kind=kind,
        by=by,
        occurred_at=at,
        recorded_at=at,
        origin=origin,
        purpose=purpose,
        **facts,
    )


def state(*events):
    return fold(events).purposes[P].state


def objection(*events):
    return fold(events).purposes[P].objection


EVENTS = st.builds(
    event,
    st.sampled_from(sorted(CONSENT | OBJECTION | RESTRICTION)),
    st.integers(-5, 5),
    purpose=st.sampled_from([P, "profiling"]),
    origin=st.sampled_from(["recorded", "imported", "merged", "system"]),
    by=st.sampled_from(["subject", "guardian", "staff", "app"]),
    source=st.sampled_from([None, "shop", "crm"]),
    final=st.booleans(),
)


@given(st.lists(EVENTS, max_size=12))
def test_apply_agrees_with_fold(events):
    folded = NOTHING
    for item in events:
        folded = unpack(pack(apply(folded, item)))
    assert folded == fold(events)


@given(EVENTS)
def test_events_round_trip(given):
    assert decode(encode(given)) == given


@given(st.lists(EVENTS, max_size=12), st.sampled_from(["refused", "withdrawn"]))
def test_a_denial_ends_a_consent(events, kind):
    assert state(*events, event(kind, 6)) in {"refused", "withdrawn"}


@given(st.lists(EVENTS, max_size=12))
def test_an_agreement_from_the_person_counts(events):
    after = fold([*events, event("given", 6)]).purposes[P]
    assert after.state == "given"
    assert after.objection in {"none", "overruled"}


@given(st.lists(EVENTS, max_size=12), st.sampled_from(["imported", "merged"]))
def test_an_objection_of_any_origin_counts(events, origin):
    assert objection(*events, event("objected", -5, origin=origin)) in {"pending", "upheld"}


@given(st.lists(EVENTS, max_size=8), st.lists(EVENTS.filter(lambda each: each.origin in {"imported", "merged"})))
def test_imports_and_merges_lift_no_restriction(events, more):
    before = fold([*events, event("restricted")])
    assert fold([*events, event("restricted"), *more]).restricted_at >= before.restricted_at


def test_an_earlier_event_does_not_undo_a_later_one():
    assert state(event("given", 1), event("withdrawn", 0)) == "given"
    assert state(event("withdrawn", 1), event("given", 0)) == "withdrawn"


@pytest.mark.parametrize("order", [("given", "withdrawn"), ("withdrawn", "given")])
def test_of_two_events_at_the_same_time_the_denial_counts(order):
    assert state(*(event(kind, 0) for kind in order)) == "withdrawn"


def test_a_new_request_changes_no_decision():
    assert state(event("requested")) == "pending"
    assert state(event("withdrawn", 0), event("requested", 1)) == "withdrawn"
    assert state(event("given", 0), event("requested", 1)) == "given"
    assert state(event("requested", 0), event("given", 1)) == "given"


def test_an_imported_old_agreement_undoes_no_denial():
    assert state(event("withdrawn", 0), event("given", 5, origin="imported", source="crm")) == "withdrawn"


def test_within_one_source_the_later_event_counts():
    no = event("withdrawn", 0, origin="imported", source="crm")
    assert state(no, event("given", 1, origin="imported", source="crm")) == "given"
    assert state(no, event("given", -1, origin="imported", source="crm")) == "withdrawn"
    assert state(no, event("given", 1, origin="imported", source="shop")) == "withdrawn"


def test_a_source_cannot_retract_the_denial_of_another():
    crm, shop = {"origin": "imported", "source": "crm"}, {"origin": "imported", "source": "shop"}
    both = [event("withdrawn", 1, **crm), event("withdrawn", 2, **shop)]
    assert state(*both, event("given", 3, **shop)) == "withdrawn"
    assert state(*both, event("given", 3, **shop), event("given", 4, **crm)) == "given"
    assert state(event("withdrawn", 0), *both, event("given", 3, **shop), event("given", 4, **crm)) == "withdrawn"
    assert state(*both, event("given", 5)) == "given"


def test_an_imported_old_denial_counts():
    assert state(event("given", 0), event("withdrawn", -100, origin="imported", source="crm")) == "withdrawn"


def test_an_objection_to_marketing_is_final_and_ends_the_consent():
    after = fold([event("given", 0), event("objected", 1, final=True)]).purposes[P]
    assert (after.state, after.objection) == ("withdrawn", "upheld")


def test_an_objection_waits_and_is_decided():
    objected = event("objected")
    assert objection(objected) == "pending"
    assert objection(objected, event("objection-overruled", 1, by="staff")) == "overruled"
    assert objection(objected, event("objection-upheld", 1, by="staff")) == "upheld"
    assert objection(event("objection-upheld"), event("objected", 1)) == "upheld"


def test_only_a_later_agreement_of_the_person_lifts_an_objection():
    objected = event("objected", 1)
    assert objection(objected, event("given", 2)) == "none"
    assert objection(objected, event("given", 2, by="app")) == "pending"
    assert objection(objected, event("given", 2, origin="merged")) == "pending"
    assert objection(event("given", 0), objected) == "pending"


def test_a_restriction_lasts_until_it_is_lifted():
    on = event("restricted", 1)
    assert fold([on]).restricted_at is not None
    assert fold([on, event("restriction-lifted", 2)]) == NOTHING


def test_the_empty_state_is_stored_as_null():
    assert pack(NOTHING) is None
    assert unpack(None) == ConsentState()


def test_an_event_without_purpose_is_a_restriction():
    with pytest.raises(ValueError, match="has no purpose"):
        apply(NOTHING, event("given", purpose=None))


def test_a_denial_older_than_a_pending_request_is_kept():
    """It does not end the later request, but no import of an older agreement outweighs it."""
    asked, no = event("requested"), event("withdrawn", -1, by="staff")
    assert state(asked, no) == "pending"
    assert state(asked, no, event("requested", 1), event("given", -2, origin="imported", source="crm")) == "pending"
    assert state(asked, no, event("given", -2, origin="merged")) == "pending"
    assert state(asked, no, event("given", 1)) == "given"


def test_an_imported_agreement_keeps_its_time_despite_a_later_request():
    asked, yes = event("requested"), event("given", -5, origin="imported", source="crm")
    assert state(asked, yes) == "given"
    assert state(asked, yes, event("withdrawn", -1)) == "withdrawn"
    assert fold([asked, yes]).purposes[P].since == fold([yes]).purposes[P].since
