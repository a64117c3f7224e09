"""How many people one transaction of a sweep takes up at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vault.sweep.evaluate import Seen

MOST_RECORDS: Final = {"sqlite": 400, "postgresql": 2_000}
"""Records that are sealed anew in one transaction: for no longer may SQLite's one writer be kept from the others."""


def cut(counted: Sequence[tuple[Seen, int]], most: int) -> Iterator[list[Seen]]:
    """Cut people into portions of no more records than one transaction may hold, but of one person at least.

    Args:
        counted: people, each with how many records there are of them.
        most: records.
    """
    portion: list[Seen] = []
    held = 0
    for seen, records in counted:
        if portion and held + records > most:
            yield portion
            portion, held = [], 0
        portion.append(seen)
        held += max(records, 1)
    if portion:
        yield portion
