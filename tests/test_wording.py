"""Numbers in sentences have the right form of their noun."""

from __future__ import annotations

import pytest

from vault.wording import counted


@pytest.mark.parametrize(
    ("number", "words", "sentence"),
    [
        (0, ("person", "people"), "0 people"),
        (1, ("person", "people"), "1 person"),
        (2_000, ("person", "people"), "2,000 people"),
        (1, ("row",), "1 row"),
        (2, ("row",), "2 rows"),
    ],
)
def test_one_thing_is_singular_and_any_other_number_plural(number, words, sentence):
    assert counted(number, *words) == sentence
