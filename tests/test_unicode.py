"""Normalisation is linear: a text with a long run of combining marks is refused before it is normalised."""

from __future__ import annotations

import ast
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.architecture.source import modules
from vault import unicode as unicode_module
from vault.catalogue.types import TYPES, ValueProblem
from vault.catalogue.types.text import folded
from vault.unicode import LONGEST_RUN, TooManyMarks, is_stream_safe, normalize

MARKS = {
    "two classes": "\u0301\u0327",
    "decomposes to two": "\u0344",
    "no mark, decomposes to two": "\u0f73",
    "no mark, becomes one": "\uff9e",
    "joined by invisible characters": "\u0301\u200d\u0327\u200d",
}
LEGITIMATE = ["Zoë", "Nguyễn Thị Ánh", "שָׁלוֹם עֲלֵיכֶם", "بِسْمِ ٱللَّٰهِ", "རྒྱལ་རྩེ", "क्षत्रिय", "ﾊﾟﾋﾞﾌﾞ", "각", "👩‍👩‍👧‍👦" * 20]
LETTERS = st.text(
    st.sampled_from("aé가ﾊ\u0301\u0327\u0344\u0345\u0f73\uff9e\u200d\u034f\u1e9b\u0323\ufdfaﬁİΐ") | st.characters(),
    max_size=80,
)


@pytest.mark.parametrize("text", LEGITIMATE)
def test_text_of_a_language_is_normalised(text):
    assert normalize("NFC", text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("form", ["NFC", "NFKC", "NFKD"])
def test_a_long_run_of_marks_is_refused(marks, form):
    with pytest.raises(TooManyMarks):
        normalize(form, "a" + marks * (LONGEST_RUN + 1))


def test_the_limit_counts_marks_in_a_row():
    assert is_stream_safe("a" + "\u0301" * LONGEST_RUN + "a" + "\u0301" * LONGEST_RUN)
    assert not is_stream_safe("a" + "\u0301" * (LONGEST_RUN + 1))


@given(LETTERS)
def test_what_is_safe_is_safe_in_every_form(text):
    safe = is_stream_safe(text)

    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert is_stream_safe(unicodedata.normalize(form, text)) is safe
    if safe:
        assert is_stream_safe(text.casefold())
        assert folded(folded(text)) == folded(text)


def longest_run(text):
    longest = run = 0
    for character in unicodedata.normalize("NFKD", text):
        run = run + 1 if unicodedata.combining(character) else 0
        longest = max(longest, run)
    return longest


class Counting:
    """Stands in for ``unicodedata`` and counts the work of normalising: the square of the longest run of marks."""

    combining = staticmethod(unicodedata.combining)
    category = staticmethod(unicodedata.category)

    def __init__(self):
        self.work = 0

    def normalize(self, form, text):
        self.work += len(text) + longest_run(text) ** 2
        return unicodedata.normalize(form, text)


def work_of(monkeypatch, name, text):
    counting = Counting()
    monkeypatch.setattr(unicode_module, "unicodedata", counting)
    unicode_module._marks.cache_clear()
    kind = TYPES[name]
    try:
        value = kind.normalise(text, {"values": ["a"]} if name == "enumeration" else {})
        if kind.fold is not None:
            kind.index_text(value)
    except ValueProblem:
        pass
    return counting.work


@pytest.mark.parametrize("name", list(TYPES))
@pytest.mark.parametrize("piece", [*MARKS.values(), "\u00e9", "a\u0301", "\ufdfa", "\u3099 "])
def test_the_work_for_a_value_grows_with_its_length_only(monkeypatch, name, piece):
    once, twice = (work_of(monkeypatch, name, "a" + piece * (size // len(piece))) for size in (1_000, 2_000))

    assert twice <= 2.5 * max(once, 500)


def test_no_other_module_normalises():
    users = {
        module.name
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == "normalize" and ast.unparse(node.value) == "unicodedata"
    }
    assert users == {"vault.unicode"}
