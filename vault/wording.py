"""Wording of sentences for people: numbers with the right form of their noun."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number and its noun: ``1 person``, ``2,000 people``.

    Args:
        many: the plural; by default the singular with an ``s``.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
