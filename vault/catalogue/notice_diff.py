"""What is different between two notices, by the word: lines that were only wrapped anew are no change."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vault.catalogue.notices import Notice

FRONT = ("title", "purposes", "language", "material", "valid_from")
_BLANK_LINES = re.compile(r"\n\s*\n")
_BREAK = "\n\n"


class Piece(NamedTuple):
    """Some words that are in both texts, only in the old one (``out``) or only in the new one (``in``)."""

    kind: Literal["same", "out", "in"]
    text: str


class Changes(NamedTuple):
    """What changed: keys of the front matter with their old and new values, and the paragraphs that differ."""

    front: dict[str, tuple[Any, Any]]
    paragraphs: list[list[Piece]]


def compare(old: Notice, new: Notice) -> Changes:
    """Compare two notices."""
    front = {key: (getattr(old, key), getattr(new, key)) for key in FRONT}
    changed = {key: values for key, values in front.items() if values[0] != values[1]}
    return Changes(changed, list(_paragraphs(_split(old.body), _split(new.body))))


def _split(body: str) -> list[str]:
    """Part a text into paragraphs, each on one line."""
    return [" ".join(each.split()) for each in _BLANK_LINES.split(body.strip())]


def _paragraphs(old: Sequence[str], new: Sequence[str]) -> Iterator[list[Piece]]:
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if b - a == d - c:  # as many as before: each is the old one, reworded
            yield from (list(_words(*pair)) for pair in zip(old[a:b], new[c:d], strict=True))
        else:
            yield list(_words(_BREAK.join(old[a:b]), _BREAK.join(new[c:d])))


def _words(old: str, new: str) -> Iterator[Piece]:
    before, after = _tokens(old), _tokens(new)
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Piece("same", _joined(before[a:b]))
        if kind in {"delete", "replace"}:
            yield Piece("out", _joined(before[a:b]))
        if kind in {"insert", "replace"}:
            yield Piece("in", _joined(after[c:d]))


def _tokens(text: str) -> list[str]:
    return re.findall(r"\n\n|\S+", text)


def _joined(tokens: Sequence[str]) -> str:
    return " ".join(tokens).replace(f" {_BREAK} ", _BREAK)
