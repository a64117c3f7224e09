"""Differences between two notices, word by word."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.catalogue.notices import Changes, Notice, Piece, compare

OLD = Notice(
    id="marketing@1",
    title="Offers",
    purposes=("direct-marketing",),
    language="en",
    valid_from=date(2026, 1, 1),
    body="# Offers\n\nMay we write to\nyou once a week?\n\nYou can say no.",
)


def changed(body, **front):
    return compare(OLD, replace(OLD, body=body, **front))


def with_body(body):
    return replace(OLD, body=body)


def test_equal_texts_have_no_changes():
    assert changed(OLD.body) == Changes({}, [])


def test_rewrapped_lines_are_no_change():
    assert changed("# Offers\n\n\nMay we write\nto you once   a week?\n \nYou can say\nno.").paragraphs == []


def test_changed_word_is_shown_among_unchanged_words():
    (paragraph,) = changed(OLD.body.replace("once", "twice")).paragraphs

    assert paragraph == [
        Piece("same", "May we write to you"),
        Piece("out", "once"),
        Piece("in", "twice"),
        Piece("same", "a week?"),
    ]


def test_added_and_removed_paragraphs_are_shown_whole():
    assert changed(OLD.body + "\n\nIt costs nothing.").paragraphs == [[Piece("in", "It costs nothing.")]]
    assert changed("# Offers\n\nYou can say no.").paragraphs == [[Piece("out", "May we write to you once a week?")]]


def test_changed_keys_of_the_front_matter_have_both_values():
    changes = changed(OLD.body, title="News", material=False, valid_from=None, purposes=("profiling",))

    assert changes.front == {
        "title": ("Offers", "News"),
        "purposes": (("direct-marketing",), ("profiling",)),
        "material": (True, False),
        "valid_from": (date(2026, 1, 1), None),
    }


words = st.lists(st.sampled_from(["a", "b", "c", "\n\n"]), min_size=1, max_size=12).map(" ".join)


@given(words, words)
def test_the_pieces_contain_all_words_of_both_texts(old, new):
    """Every word that is shown as gone was there, every one shown as new is there, and none is forgotten."""
    changes = compare(replace(OLD, body=old), replace(OLD, body=new))

    def count(pieces, kind):
        return sorted(" ".join(piece.text for paragraph in pieces for piece in paragraph if piece.kind == kind).split())

    removed, added = count(changes.paragraphs, "out"), count(changes.paragraphs, "in")
    assert sorted([*old.split(), *added]) == sorted([*new.split(), *removed])


@pytest.mark.parametrize("join", [" ", "\n\n"])
def test_a_long_text_is_compared_where_it_changes(join):
    words = [f"w{number}" for number in range(2_000)]
    changes = compare(with_body(join.join(words)), with_body(join.join([*words[:1_000], "new", *words[1_001:]])))
    assert [[piece for piece in paragraph if piece.kind != "same"] for paragraph in changes.paragraphs] == [
        [Piece("out", "w1000"), Piece("in", "new")]
    ]


def test_texts_that_differ_all_over_are_one_change():
    old, new = (" ".join(letter * (1 + number % 7) for number in range(300)) for letter in "ab")
    changes = compare(with_body(old), with_body(new))
    assert changes.paragraphs == [[Piece("out", old), Piece("in", new)]]
