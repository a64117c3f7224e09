"""Pages of a list: the bounds of their size, and the cursor of the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from vault.errors import Fault, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


class _WithId(Protocol):
    @property
    def id(self) -> UUID: ...


RowT = TypeVar("RowT", bound=_WithId)


def check_page(limit: int, most: int, things: str) -> None:
    """Refuse a page of no things, or of more than the most.

    Raises:
        InvalidInput: the limit is not within 1 to ``most``.
    """
    if not 1 <= limit <= most:
        fault = Fault("/limit", "out-of-range", f"1 to {most}")
        raise InvalidInput(f"a page has 1 to {most} {things}", faults=[fault], code="invalid-page")


def cut(rows: Sequence[RowT], limit: int) -> tuple[Sequence[RowT], UUID | None]:
    """Return the rows of a page, and the id after which the next page begins; None if this is the last page.

    Args:
        rows: of the page and one more, if there is one: it shows that there is a next page without a second query.
    """
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
