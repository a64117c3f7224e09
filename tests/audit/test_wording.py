"""What an entry says in words: what was done, to what, for what; or why not."""

from __future__ import annotations

from typing import get_args
from uuid import UUID

import pytest

from vault.audit.entry import Action, Entry
from vault.audit.wording import CODES, DONE, in_words

SHOWING = {"read", "search", "list", "explain", "download-package", "send-package"}


def said(action, decision="allowed", **facts):
    return in_words(
        Entry(
            id=UUID(int=1),
            tenant="default",
            at="2026-01-01T00:00:00.000000Z",
            action=action,
            decision=decision,
            **facts,
        )
    )


PERSON = (UUID(int=2),)
NAME = ("profile.name.clear",)


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        ("read profile.name.clear  for care  1 person", {"action": "read", "purpose": "care"}),
        ("created with profile.name.clear  1 person", {"action": "create"}),
        ("changed profile.name.clear  1 person", {"action": "update"}),
        ("appended profile.name.clear  1 person", {"action": "append"}),
        ("corrected profile.name.clear  1 person", {"action": "rectify"}),
        ("erased profile.name.clear  1 person", {"action": "erase"}),
        ("to be erased profile.name.clear  1 person", {"action": "preview-erasure"}),
        ("by profile.name.clear  shown profile.name.clear  1 person", {"action": "search", "matched": NAME}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_allowed_call_says_what_was_done_to_which_fields(words, facts):
    assert said(fields=NAME, subjects=PERSON, **facts) == words


def test_a_consent_says_what_was_declared_and_for_what():
    words = said("record-consent", code="withdrawn", purpose="marketing", subjects=PERSON)
    assert words == "consent withdrawn  for marketing  1 person"
    assert said("move-request", code="approve") == "request: approve"


def test_a_refusal_says_what_was_refused_and_why():
    refused = said(
        "read",
        "denied",
        refused={"profile.iban.clear": "not-granted"},
        rule="p, sales, *, iban, read, *, deny",
        purpose="care",
    )
    assert refused == "refused profile.iban.clear (not-granted)  by the rule p, sales, *, iban, read, *, deny  for care"
    assert said("sign-in", "denied", code="not-authenticated", count=12) == "refused not-authenticated  12 times"
    assert said("update", "failed", code="revision-changed") == "failed: revision-changed"


def test_a_partly_answered_read_says_both():
    both = said("read", "partly", fields=NAME, refused={"profile.iban.clear": "not-granted"}, purpose="care")
    assert both == "read profile.name.clear  refused profile.iban.clear (not-granted)  for care"


def test_a_batch_says_how_many_people_and_of_how_many_nothing_was_shown():
    three = (UUID(int=2), UUID(int=3), UUID(int=4))
    assert said("read", fields=NAME, subjects=three, withheld=three[:1]) == (
        "read profile.name.clear  3 people  nothing of 1 person"
    )


@pytest.mark.parametrize("action", sorted(set(get_args(Action)) - SHOWING))
def test_what_shows_nothing_is_not_said_to_have_shown_something(action):
    words = said(action, fields=NAME, subjects=PERSON)
    assert "profile.name.clear" in words
    assert not {"shown", "read", "listed"} & set(words.split())


def test_words_are_for_actions_that_exist():
    assert DONE.keys() | CODES.keys() <= set(get_args(Action))
