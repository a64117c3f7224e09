"""No sequence of imports and merges grants what a source has withdrawn.

A model that knows nothing of the fold keeps the last word of every source. As long as the person says nothing here
themselves, a no that is somebody's last word denies, whatever the others bring and in whatever order.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from vault.consent.model import NOTHING, UNSAID, Event, apply, fold, pack, unpack
from vault.consent.personal_data import moving_events
from vault.ids import new_id

START = datetime(2026, 1, 1, tzinfo=UTC)
PURPOSES = ("news", "profiling")
SOURCES = ("crm", "shop", "survey")
DENIES = {"refused", "withdrawn"}
SAYS = ("given", "renewed", "refused", "withdrawn")
STANDS = {"pending", "upheld"}

moments = st.integers(0, 6)


def event(kind, day, purpose, **more):
    at = START + timedelta(days=day)
    return Event(
        id=new_id(),
        subject=UUID(int=1),
        kind=kind,
        by="subject",
        purpose=purpose,
        occurred_at=at,
        recorded_at=at,
        **more,
    )


def imported():
    said = st.tuples(st.sampled_from(SAYS), moments, st.sampled_from(PURPOSES), st.sampled_from(SOURCES))
    return said.map(lambda it: event(it[0], it[1], it[2], origin="imported", source=it[3]))


def objection():
    created = st.tuples(
        st.sampled_from(["objected", "objection-upheld"]), moments, st.sampled_from(PURPOSES), st.booleans()
    )
    return created.map(lambda it: event(it[0], it[1], it[2], origin="imported", source="crm", final=it[3]))


def restriction():
    return st.tuples(st.sampled_from(["restricted", "restriction-lifted"]), moments, st.booleans()).map(
        lambda it: event(it[0], it[1], None, origin="imported" if it[2] else "recorded")
    )


def recorded():
    kinds = (*SAYS, "requested", "expired", "objected", "objection-upheld", "objection-overruled")
    said = st.tuples(st.sampled_from(kinds), moments, st.sampled_from(PURPOSES), st.booleans())
    return said.map(lambda it: event(it[0], it[1], it[2], final=it[3] and it[0] == "objected"))


ledgers = st.lists(st.one_of(recorded(), imported(), objection(), restriction()), max_size=10)
from_outside = st.lists(st.one_of(imported(), objection()), max_size=12)


def last_words(events):
    """Return the latest decision of each source on each purpose: by time, and of two at the same time the denial."""
    words = defaultdict(dict)
    for item in events:
        if item.kind in SAYS:
            rank = (item.occurred_at, item.kind in DENIES)
            before = words[item.purpose].get(item.source)
            if before is None or rank >= before[0]:
                words[item.purpose][item.source] = (rank, item.kind in DENIES)
    return {purpose: {source: no for source, (_rank, no) in its.items()} for purpose, its in words.items()}


def denies(folded, purpose):
    said = folded.purposes.get(purpose, UNSAID)
    return said.state in DENIES or said.objection in STANDS


def two_sources_say_no_and_one_says_yes():
    no, yes = {"origin": "imported", "source": "shop"}, {"origin": "imported", "source": "crm"}
    return [event("withdrawn", 1, "news", **yes), event("withdrawn", 2, "news", **no), event("given", 3, "news", **no)]


@settings(max_examples=500)
@given(from_outside)
@example(two_sources_say_no_and_one_says_yes())
def test_imports_do_not_grant_what_one_of_their_sources_had_withdrawn(events):
    folded = fold(events)
    for purpose, words in last_words(events).items():
        if any(words.values()):
            assert folded.purposes[purpose].state != "given", (purpose, words)


@settings(max_examples=500)
@given(ledgers, from_outside)
@example([event("withdrawn", 1, "news")], two_sources_say_no_and_one_says_yes()[1:])
def test_imports_do_not_grant_what_was_denied_here(events, later):
    before = fold(events)
    after = before
    for item in later:
        after = apply(after, item)
    for purpose in PURPOSES:
        said = before.purposes.get(purpose, UNSAID)
        if said.state in DENIES and said.source is None:
            assert after.purposes[purpose].state != "given"
        if said.objection in STANDS:
            assert after.purposes[purpose].objection in STANDS
    assert before.restricted_at is None or after.restricted_at is not None


@settings(max_examples=500)
@given(ledgers, ledgers)
def test_a_merge_grants_nothing_that_either_subject_had_denied(mine, theirs):
    own, other = fold(mine), fold(theirs)
    after = merge(mine, theirs)
    for purpose in PURPOSES:
        if denies(own, purpose) or denies(other, purpose):
            assert denies(after, purpose)
        stands = (use.purposes.get(purpose, UNSAID).objection in STANDS for use in (own, other))
        assert not any(stands) or after.purposes[purpose].objection in STANDS


@settings(max_examples=500)
@given(ledgers, ledgers)
def test_a_merge_keeps_a_restriction_from_the_later_of_both_times(mine, theirs):
    restricted = [item.restricted_at for item in (fold(mine), fold(theirs)) if item.restricted_at is not None]
    after = merge(mine, theirs)
    assert after.restricted_at == max(restricted, default=None)


@settings(max_examples=500)
@given(ledgers, ledgers)
def test_a_merge_grants_only_what_one_agreed_to_and_the_other_never_decided(mine, theirs):
    own, other = fold(mine), fold(theirs)
    for purpose, said in merge(mine, theirs).purposes.items():
        if said.state == "given":
            ours, its = own.purposes.get(purpose, UNSAID), other.purposes.get(purpose, UNSAID)
            kept = decisive(ours) == decisive(said)
            came = ours.state == "none" and decisive(its) == decisive(said)
            assert kept or came


def decisive(said):
    """Compare the parts that decide: notice, method, by, end."""
    return (said.state, said.notice, said.method, said.by, said.valid_until)


@settings(max_examples=300)
@given(st.lists(ledgers, min_size=2, max_size=4), from_outside)
def test_repeated_merges_and_imports_grant_nothing_that_was_withdrawn(people, events):
    """All people are merged into one, one after the other, with an import on the survivor before each merge."""
    survivor, *others = people
    share = len(events) // len(others)
    for number, other in enumerate(others):
        survivor = [*survivor, *events[number * share : (number + 1) * share]]
        denied = [purpose for purpose in PURPOSES if denies(fold(survivor), purpose) or denies(fold(other), purpose)]
        survivor = [*survivor, *moving_events(fold(survivor), other)]
        assert all(denies(fold(survivor), purpose) for purpose in denied)


@given(ledgers)
def test_apply_and_fold_agree_at_every_step_and_survive_encoding(events):
    folded = NOTHING
    for item in events:
        folded = unpack(pack(apply(folded, item)))
    assert folded == fold(events)


def merge(mine, theirs):
    return fold([*mine, *moving_events(fold(mine), theirs)])
