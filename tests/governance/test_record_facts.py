"""Counting the uses of data: what counts, independent of the order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.audit.entry import KINDS, Use
from vault.governance import record_facts
from vault.governance.record_facts import Count, Tally

SHOP = "01a201ab-0d4b-7828-b9af-02e78890e8b4"


def use(**facts):
    given = {"at": "2026-03-05T12:00:00.000000Z", "action": "read", "purpose": "p", "principal": SHOP}
    return Use(**{**given, "principal_name": "shop", "fields": ("profile.name.clear",), "subjects": ("1",), **facts})


def counted(*uses):
    counts = Tally()
    counts.add(uses)
    return counts.by_purpose()


TIMES = st.integers(0, 10**6).map("2026-03-05T12:00:00.{:06}Z".format)
USES = st.builds(
    Use,
    at=TIMES,
    action=st.sampled_from(sorted(KINDS)),
    purpose=st.sampled_from(["a", "b"]),
    principal=st.sampled_from([SHOP, "01a201ab-0d4b-7828-b9af-02e78890e8b5"]),
    principal_name=st.sampled_from(["shop", "desk"]),
    fields=st.lists(st.sampled_from(["x", "y", "z"]), max_size=3, unique=True).map(tuple),
    subjects=st.lists(st.just("s"), max_size=3).map(tuple),
    withheld=st.lists(st.just("s"), max_size=3).map(tuple),
    count=st.integers(1, 3),
)


@given(st.lists(USES, max_size=30), st.data())
def test_order_and_chunks_do_not_change_the_counts(uses, data):
    shuffled = data.draw(st.permutations(uses))
    cut = data.draw(st.integers(0, len(uses)))
    parts = Tally()
    parts.add(shuffled[:cut])
    parts.by_purpose()  # folded half-way, as with many patterns
    parts.add(shuffled[cut:])
    assert parts.by_purpose() == counted(*uses)
    assert parts.uses == len(uses)


@given(st.lists(USES, max_size=30))
def test_counts_agree_with_a_plain_loop(uses):
    result = counted(*uses)
    for purpose in ("a", "b"):
        own = [use for use in uses if use.purpose == purpose]
        read = [use for use in own if KINDS[use.action] != "write" and use.fields and use.people > 0]
        assert (purpose in result) == bool(own)
        if not own:
            continue
        assert sum(count.times for count in result[purpose].kinds.values()) == sum(use.count for use in own)
        for field in ("x", "y", "z"):
            counts = [reading.fields[field] for reading in result[purpose].readers.values() if field in reading.fields]
            naming = [use for use in read if field in use.fields]
            assert sum(count.times for count in counts) == sum(entry.count for entry in naming)
            assert sum(count.people for count in counts) == sum(entry.count * entry.people for entry in naming)
            assert min([count.first for count in counts], default="") == min([entry.at for entry in naming], default="")
            assert max([count.last for count in counts], default="") == max([entry.at for entry in naming], default="")


def test_memory_is_bounded_with_many_patterns(monkeypatch):
    monkeypatch.setattr(record_facts, "MOST_PATTERNS", 2)
    counts = Tally()
    counts.add([use(fields=(f"profile.f{number}.clear",)) for number in range(5)])
    assert counts._patterns == {}
    assert counts.by_purpose()["p"].readers[SHOP, "shop"].total == Count(5, 5, use().at, use().at)


def test_a_batch_counts_only_people_who_were_shown():
    reading = counted(use(subjects=("1", "2", "3"), withheld=("2",)))["p"].readers[SHOP, "shop"]
    assert reading.fields["profile.name.clear"] == Count(1, 2, use().at, use().at)


@pytest.mark.parametrize("nobody", [{"subjects": ()}, {"withheld": ("1",)}, {"fields": ()}])
def test_an_empty_result_is_not_a_read(nobody):
    usage = counted(use(action="search", **nobody))["p"]
    assert usage.kinds["search"].times == 1
    assert usage.readers == {}


def test_a_write_is_a_use_but_not_a_read():
    usage = counted(use(action="create"), use(action="import"))["p"]
    assert usage.kinds["write"].times == 2
    assert usage.readers == {}


def test_only_relevant_entries_are_decoded():
    body = msgspec.json.encode({"id": 1, "at": "t", "action": "read", "reason": "AAAA", "refused": {"a": "b"}})
    assert msgspec.json.decode(body, type=Use) == Use(at="t", action="read")
