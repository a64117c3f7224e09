"""The stored state of a job consists of names, ids and numbers; everything else is refused."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.errors import Conflict
from vault.ids import TenantId
from vault.jobs.store import JobFailed, Task, decode, encode, first_task
from vault.jobs.workflow import Work

PERSONAL = [
    "Ada Lovelace",
    "ada@example.org",
    "+44 20 7946 0123",
    "Zürich",
    "SW1Y 4JH",
    "a\nb",
    "1985-12-10 ",
    "x" * 201,
]


@pytest.mark.parametrize("word", PERSONAL)
def test_strings_that_could_be_personal_data_are_refused_at_any_depth(word):
    for value in (word, [word], (1, [word]), {"args": (word,), "kwargs": {}}, {word: 1}, {"a": {"b": word}}):
        with pytest.raises(TypeError, match="names and ids only"):
            encode(value)


@pytest.mark.parametrize("value", [b"bytes", object(), uuid4(), {1: 2}, {"a": {1, 2}}])
def test_values_other_than_words_and_numbers_are_refused(value):
    with pytest.raises(TypeError, match="names and ids only"):
        encode(value)


def test_the_code_of_a_failure_is_stored():
    kept = decode(encode(JobFailed("subject-there")))
    assert isinstance(kept, JobFailed)
    assert kept.code == "subject-there"


@pytest.mark.parametrize("error", [ValueError("ada@example.org"), Conflict("Ada is there"), JobFailed("Ada Lovelace")])
def test_other_errors_are_stored_as_internal_errors_without_their_message(error):
    assert "da" not in encode(error)
    assert decode(encode(error)).code == "internal-error"


tasks = st.builds(
    Task,
    workflow=st.sampled_from(["access", "notify"]),
    tenant=st.from_regex(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?", fullmatch=True),
    id=st.uuids().map(str),
    run=st.integers(0, 99),
    attempt=st.integers(0, 99),
    begin=st.sampled_from(["", "build"]),
    failures=st.integers(0, 99),
    code=st.none() | st.just("unavailable"),
)


@settings(max_examples=50)
@given(tasks)
def test_an_attempt_survives_a_round_trip(task):
    assert Task(*decode(encode({"args": tuple(task), "kwargs": {}}))["args"]) == task
    assert task.work == Work(task.workflow, TenantId(task.tenant), UUID(task.id), task.run)


@settings(max_examples=50)
@given(tasks, tasks)
def test_each_attempt_has_its_own_id(one, other):
    same = (one.work, one.attempt) == (other.work, other.attempt)
    assert (one.key == other.key) is same
    assert one.next().key != one.key


def test_the_first_attempt_has_the_id_of_the_job_and_later_ones_a_number():
    job = UUID("0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa")
    first = first_task(Work("access", TenantId("acme"), job, 2))
    assert first.key == f"acme:access:{job}:2"
    later = first.next("build", failures=1, code="unavailable")
    assert later.key == f"acme:access:{job}:2:1"
    assert (later.begin, later.failures, later.code) == ("build", 1, "unavailable")
    assert later.next("build") == Task("access", "acme", str(job), 2, 2, "build", 0, None)
