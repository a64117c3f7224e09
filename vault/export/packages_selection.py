"""Which values belong into a package, and which of them are shown masked (Arts. 15(4), 20(1) and (4)). Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import Origin
from vault.catalogue.scope import Scope
from vault.catalogue.types import TYPES

if TYPE_CHECKING:
    from vault.catalogue.model import Catalogue, Field
    from vault.export.selection import Grounds

INFERRED: Final = re.compile(r"(?:inferred|derived|predicted|scored)(?![a-z])", re.IGNORECASE)
"""Names of sources that conclude: ``inferred``, ``derived:segments``."""
MASKS: Final = ("masked", "year")
"""Views that show little of somebody else, the first that a type has; a value of any other type is left out."""
WITHHELD: Final = "withheld"
EVERYTHING: Final = Scope()
_HANDED_OVER: Final = frozenset({Origin.PROVIDED, Origin.OBSERVED})


def is_inferred(field: Field | None, source: str | None) -> bool:
    """Tell whether a value is a conclusion: by what the catalogue says of the field, or by the name of its source."""
    if field is not None and field.origin == Origin.INFERRED:
        return True
    return source is not None and INFERRED.match(source) is not None


def mask_of(field: Field | None) -> str | None:
    """Say by which view a value that is about somebody else is shown; none where it is about nobody else.

    Returns:
        ``withheld`` where the type has no such view.
    """
    if field is None or not field.others:
        return None
    return next((view for view in MASKS if view in TYPES[field.type].views), WITHHELD)


class Selection:
    """Which of a person's values a package holds.

    Args:
        catalogue: in force.
        grounds: what uses the data.
        portable: whether only what people may take along.
        scope: what the person asked for; empty: everything.
    """

    def __init__(
        self, catalogue: Catalogue, grounds: Grounds | None, *, portable: bool, scope: Scope = EVERYTHING
    ) -> None:
        self._fields = {each.whole: each for each in catalogue.fields()}
        self._grounds = grounds
        self._scope = scope
        self._asked: dict[str, bool] = {}
        self.portable = portable

    def field(self, whole: str) -> Field | None:
        """Return a field; none where values are still held of one that is declared no longer."""
        return self._fields.get(whole)

    def holds(self, whole: str, source: str | None) -> bool:
        """Tell whether a value belongs into the package: for access every one that is held and asked for."""
        if not self.asked_for(whole):
            return False
        if not self.portable:
            return True
        field = self._fields.get(_without_view(whole))
        if field is None or field.origin not in _HANDED_OVER or is_inferred(field, source):
            return False
        return self._grounds is not None and self._grounds.may_be_taken_along(field)

    def asked_for(self, whole: str) -> bool:
        """Tell whether a field is what the person asked for: named itself, by its collection, or by a purpose of it."""
        if self._scope == EVERYTHING:
            return True
        found = self._asked.get(whole)
        if found is None:
            found = self._asked[whole] = self._in_scope(whole)
        return found

    def _in_scope(self, whole: str) -> bool:
        if _without_view(whole) in self._scope.fields or whole.partition(".")[0] in self._scope.collections:
            return True
        field = self._fields.get(_without_view(whole))
        return field is not None and self._grounds is not None and self._grounds.is_for(field, self._scope.purposes)


def _without_view(whole: str) -> str:
    """Return a field's whole name; that of what was generalised goes on with the view's."""
    return ".".join(whole.split(".")[:2])
