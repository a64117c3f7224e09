"""Names in errors: an unknown one is repeated only as the typo of a known one, which is suggested.

A value that is sent as a key by mistake must not be repeated. What begins with a small letter and has no other
characters than those of names looks like a name; an e-mail address, a telephone number, a surname or a text does not.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LIKENESS: Final = 0.75
"""From 0 to 1: a word that is less like a name than this is no typo of it."""
_NAME: Final = re.compile(r"[a-z][A-Za-z0-9_.-]{0,39}")


def looks_like_name(key: object) -> bool:
    """Return whether a key may be repeated in an error."""
    return isinstance(key, str) and _NAME.fullmatch(key) is not None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another one; None if none is like it."""
    return next(iter(get_close_matches(name[:80], list(known), n=1, cutoff=LIKENESS)), None)


def called(key: object, position: int | None, known: Iterable[str]) -> tuple[str, str]:
    """Return how an error refers to an unknown key, and the question whether a known one is meant.

    A key that looks like a name and is like a known one is a typo: it is repeated. Any other may be a value: then its
    position, counted from 1, is the reference, and there is no question.
    """
    near = nearest(key, known) if isinstance(key, str) and looks_like_name(key) else None
    if near is None:
        return "A key" if position is None else f"Key {position}", ""
    return f"`{key}`", f"; did you mean `{near}`?"


REPEATED: Final = "a name is given twice in one object"


def parse_unique(text: str | bytes) -> Any:
    """Parse JSON in which each object gives each of its names once (RFC 8259 §4 leaves open what another means).

    Raises:
        json.JSONDecodeError: the text is no such JSON; ``msg`` is :data:`REPEATED` if a name is given twice.
        UnicodeDecodeError: it is not encoded as JSON is.
    """
    return json.loads(text, object_pairs_hook=unique_names)


def unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its members, for ``json.loads``; raises JSONDecodeError if a name is given twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise json.JSONDecodeError(REPEATED, "", 0)
    return result
