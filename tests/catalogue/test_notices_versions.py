"""Versions for which a consent is valid: the newest in force, and those from which it does not differ in meaning."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.folders import shipped
from vault.catalogue.notices import MOST_KEPT, Notice, Notices
from vault.policy.policy_set import PolicySet

TODAY = date(2026, 3, 5)
MARKETING = PolicySet.load(shipped()).purposes["direct-marketing"]


def asking(notice):
    return replace(MARKETING, notice=notice)


def version(number, *, material=True, purposes=("direct-marketing",), valid_from=None, language="en", translated=False):
    return Notice(
        id=f"marketing@{number}",
        title="Offers",
        purposes=purposes,
        language=language,
        valid_from=valid_from,
        body="May we write to you?",
        digest=f"sha256:{number}{language}",
        material=material,
        translated=translated,
    )


def good(*versions, asked="marketing@3", day=TODAY):
    return {int(notice.rpartition("@")[2]) for notice in Notices(versions).accepted(asking(asked), day)}


def test_a_material_version_makes_older_consents_void():
    assert good(version(1), version(2), version(3)) == {3}


def test_a_version_that_is_not_material_keeps_older_consents_valid():
    assert good(version(1), version(2), version(3, material=False)) == {2, 3}
    assert good(version(1), version(2, material=False), version(3, material=False)) == {1, 2, 3}


def test_a_newer_version_counts_from_its_first_day_on_without_a_change_of_the_purpose():
    later = version(4, valid_from=date(2026, 4, 1))

    assert good(version(3), later) == {3}
    assert good(version(3), later, day=date(2026, 3, 31)) == {3}
    assert good(version(3), later, day=date(2026, 4, 1)) == {4}


def test_no_version_is_accepted_before_that_of_the_purpose_is_in_force():
    assert good(version(2), version(3, valid_from=date(2026, 4, 1))) == set()
    assert good(version(2)) == set()
    assert good() == set()


def test_no_version_before_a_missing_one_is_accepted():
    assert good(version(1), version(3, material=False)) == {3}
    assert good(version(2), version(3), version(5, material=False)) == {5}


def test_no_version_before_one_about_another_purpose_is_accepted():
    assert good(version(1), version(2, purposes=("profiling",), material=False), version(3, material=False)) == {3}
    assert good(version(3), version(4, purposes=("profiling",))) == set()


def test_a_purpose_without_a_notice_accepts_none():
    assert Notices([version(3)]).accepted(replace(MARKETING, notice=None), TODAY) == frozenset()


def test_versions_of_other_notices_are_not_accepted():
    other = replace(version(9), id="marketing-partners@9", digest="sha256:9")

    assert good(version(3), other) == {3}


@st.composite
def chains(draw):
    """Versions 1 to 6, some of them missing, as a folder may have them."""
    numbers = draw(st.sets(st.integers(1, 6)))
    days = st.sampled_from([None, TODAY - timedelta(days=1), TODAY, TODAY + timedelta(days=1)])
    purposes = st.sampled_from([("direct-marketing",), ("direct-marketing", "profiling"), ("profiling",)])
    return [
        version(number, material=draw(st.booleans()), purposes=draw(purposes), valid_from=draw(days))
        for number in sorted(numbers)
    ]


@given(chains(), st.integers(1, 6))
def test_version_is_accepted_only_through_an_unbroken_chain_of_immaterial_versions(chain, asked):
    there = {record.version: record for record in chain}
    newest = max((record.version for record in chain if record.in_force(TODAY)), default=0)

    def sound(number):
        item = there.get(number)
        return item is not None and item.in_force(TODAY) and "direct-marketing" in item.purposes

    wanted = {
        number
        for number in range(1, newest + 1)
        if newest >= asked
        and all(sound(number) for number in range(number, newest + 1))
        and not any(there[number].material for number in range(number + 1, newest + 1))
    }
    assert good(*chain, asked=f"marketing@{asked}") == wanted


@given(chains(), st.integers(1, 6), st.randoms())
def test_marking_a_version_as_material_never_adds_accepted_versions(chain, asked, random):
    before = good(*chain, asked=f"marketing@{asked}")
    stricter = [replace(notice, material=notice.material or random.random() < 0.5) for notice in chain]

    assert good(*stricter, asked=f"marketing@{asked}") <= before


@given(chains(), st.integers(1, 6), st.booleans())
def test_a_new_version_adds_no_accepted_version_except_itself(chain, asked, material):
    before = good(*chain, asked=f"marketing@{asked}")
    if not before:
        return

    assert good(*chain, version(7, material=material), asked=f"marketing@{asked}") <= before | {7}


def test_accepted_versions_are_cached_in_a_bounded_cache():
    notices = Notices([version(3)])
    first = notices.accepted(MARKETING, TODAY)
    for count in range(MOST_KEPT):
        notices.accepted(MARKETING, TODAY + timedelta(days=count))

    assert notices.accepted(MARKETING, TODAY) == first
    assert len(notices._kept) <= MOST_KEPT


def test_one_version_has_texts_in_several_languages():
    english, german = version(3), version(3, language="de", translated=True)
    notices = Notices([german, english])

    assert list(notices) == ["marketing@3"]
    assert notices["marketing@3"] is notices.get("marketing@3") is english
    assert dict(notices.languages("marketing@3")) == {"en": english, "de": german}
    assert notices.by_digest("sha256:3de") is german
    assert (english.file, german.file) == ("notices/marketing@3.md", "notices/marketing@3.de.md")
    assert set(notices.texts()) == {english, german}


def test_unknown_versions_are_none():
    notices = Notices([version(3)])

    assert notices.get("marketing@4") is None
    assert notices.languages("marketing@4") == {}
    assert notices.by_digest("sha256:0") is None
    assert notices.current("other", TODAY) is None
    assert notices.next_change("other", TODAY) is None


@pytest.mark.parametrize(
    ("day", "current", "change"),
    [
        (date(2025, 12, 31), None, date(2026, 1, 1)),
        (date(2026, 1, 1), "marketing@9", date(2026, 6, 1)),
        (date(2026, 5, 31), "marketing@9", date(2026, 6, 1)),
        (date(2026, 6, 1), "marketing@10", None),
    ],
)
def test_the_newest_version_in_force_is_the_current_one(day, current, change):
    notices = Notices([version(10, valid_from=date(2026, 6, 1)), version(9, valid_from=date(2026, 1, 1))])

    assert notices.current("marketing", day) == current
    assert notices.next_change("marketing", day) == change
    assert [notice.version for notice in notices.versions("marketing")] == [9, 10]
