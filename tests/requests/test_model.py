"""Which move leads from which state to which: the whole table, and what must never be in it."""

from __future__ import annotations

import itertools

import pytest

from vault.catalogue.company import KINDS
from vault.requests.model import CLOSED, OPEN, STATES, TABLE, WrongState, after
from vault.requests.model import Move as Moves

MOVES = Moves.__args__
PICTURE = """
received     ask-identity  verifying
in_review    ask-identity  verifying
received     verify        in_review
verifying    verify        in_review
in_review    verify        in_review
in_review    sign          in_review
in_review    approve       approved
received     reject        rejected
verifying    reject        rejected
in_review    reject        rejected
received     extend        received
verifying    extend        verifying
in_review    extend        in_review
approved     extend        approved
in_progress  extend        in_progress
approved     start         in_progress
in_progress  start         in_progress
in_progress  complete      completed
in_progress  hand-back     in_review
approved     hand-back     in_review
received     cancel        cancelled
verifying    cancel        cancelled
in_review    cancel        cancelled
approved     cancel        cancelled
received     expire        expired
verifying    expire        expired
completed    reopen        received
rejected     reopen        received
cancelled    reopen        received
expired      reopen        received
"""
POSSIBLE = {tuple(line.split()) for line in PICTURE.strip().splitlines()}


def test_the_table_of_moves_agrees_with_the_diagram():
    assert {(before, move, then) for (before, move), then in TABLE.items()} == POSSIBLE


@pytest.mark.parametrize(("state", "move"), list(itertools.product(STATES, MOVES)))
def test_a_move_that_is_not_in_the_table_is_refused(state, move):
    allowed = {then for before, item, then in POSSIBLE if (before, item) == (state, move)}
    if allowed:
        assert {after(state, move)} == allowed
    else:
        with pytest.raises(WrongState) as refused:
            after(state, move)
        assert refused.value.code == "wrong-state"
        assert state in refused.value.detail


def test_every_way_to_approval_passes_verification():
    """Take away the move by which somebody shows to be the person: then nothing is ever approved or under way."""
    reached = {"received"}
    while True:
        result = {then for (before, move), then in TABLE.items() if before in reached and move != "verify"} - reached
        if not result:
            break
        reached |= result
    assert not reached & {"in_review", "approved", "in_progress", "completed"}


def test_every_state_is_open_or_closed_and_can_be_left():
    assert set(STATES) == OPEN | CLOSED
    assert not OPEN & CLOSED
    assert {before for before, _move in TABLE} == set(STATES)
    assert set(TABLE.values()) == set(STATES)


def test_the_kinds_are_those_of_the_law():
    assert set(KINDS) == {
        "access", "portability", "rectification", "erasure", "restriction", "objection", "withdrawal", "review",
    }  # fmt: skip
