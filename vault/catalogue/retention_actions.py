"""What happens to a value at the end of its retention: the registry of actions.

Each action is declared once, in :data:`ACTIONS`. The check of retention.toml, the choice between claims, the sweep and
its counts, explanations, packages, the API and the command line derive from the declaration.

Rules, claims and answers carry an action as the text by which retention.toml selects it, called ``then``: the name of
the action (``erase``), or for a generalisation the whole name of the view that remains (``profile.birth_date.year``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import CLEAR, UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.catalogue.model import Catalogue


class Effect(Enum):
    """What the sweep does with a value."""

    REMOVE = "remove"
    """The value is erased."""
    REPLACE = "replace"
    """The value is erased, and one of its views is stored in its place."""
    RETAIN = "retain"
    """The value stays and is no longer used; a review of it is opened, in which a person decides."""


@dataclass(frozen=True, slots=True, eq=False)
class RetentionAction:
    """One action.

    Attributes:
        name: how retention.toml, the reviews and the API call it.
        effect: what the sweep does with the value.
        strictness: of several claims that end on the same day, the one with the lowest number decides.
        counter: the JSON key under which a sweep counts values.
        audit_code: the code of the audit entry of a subject, when nothing more serious was done to it.
        description: what the counter counts, for the API.
        summary: what the counter counts, for the command line.
        heading: the heading of its column in the table of sweeps.
        state: the state of a value that it retains, in explanations; None for other effects.
        state_summary: the same in words.
        review_summary: what an open review of such a value means.
    """

    name: str
    effect: Effect
    strictness: int
    counter: str
    audit_code: str
    description: str
    summary: str
    heading: str
    state: str | None = None
    state_summary: str = ""
    review_summary: str = ""


ERASE: Final = "erase"
RESTRICT: Final = "restrict"
REVIEW: Final = "review"
GENERALISE: Final = "generalise"

ACTIONS: Final = (
    RetentionAction(
        name=ERASE,
        effect=Effect.REMOVE,
        strictness=0,
        counter="erased",
        audit_code="erased",
        description="Values erased.",
        summary="values erased",
        heading="erased",
    ),
    RetentionAction(
        name=GENERALISE,
        effect=Effect.REPLACE,
        strictness=3,
        counter="generalised",
        audit_code="generalised",
        description="Values of which a view was kept.",
        summary="values generalised",
        heading="generalised",
    ),
    RetentionAction(
        name=REVIEW,
        effect=Effect.RETAIN,
        strictness=2,
        counter="reviews",
        audit_code="review",
        description="Values that wait for a decision from now on.",
        summary="values for review",
        heading="to review",
        state="in-review",
        state_summary="over, and waits for a decision",
        review_summary="to be decided",
    ),
    RetentionAction(
        name=RESTRICT,
        effect=Effect.RETAIN,
        strictness=1,
        counter="restricted",
        audit_code="restricted",
        description="Values that are only stored from now on.",
        summary="values only stored from now on",
        heading="restricted",
        state="restricted",
        state_summary="over: stored and not used",
        review_summary="stored, not used",
    ),
)
"""All actions, the most serious first: the audit entry of a subject has the code of the first that was applied."""

BY_NAME: Final = {action.name: action for action in ACTIONS}
SELECTABLE: Final = {
    action.name: action
    for action in sorted(ACTIONS, key=lambda action: action.strictness)
    if action.effect is not Effect.REPLACE
}
"""The actions that retention.toml selects by their names, the strictest first."""
RETAINING: Final = tuple(action for action in ACTIONS if action.effect is Effect.RETAIN)
THEN_DESCRIPTION: Final = f"{', '.join(f'`{name}`' for name in SELECTABLE)}, or the view that takes the value's place."
"""What ``then`` may be, for the API."""


class InvalidAction(ValueError):
    """A text in retention.toml selects no action."""


def action_of(then: str) -> RetentionAction:
    """Return the action that a rule selects."""
    return SELECTABLE.get(then) or BY_NAME[GENERALISE]


def is_view(then: str) -> bool:
    """Return whether a rule selects a generalisation, so that ``then`` is the whole name of a view."""
    return then not in SELECTABLE


def views_in(selected: Iterable[str]) -> list[str]:
    """Return the views among what several rules select, sorted."""
    return sorted({then for then in selected if is_view(then)})


def read_action(text: str, catalogue: Catalogue, field: str | None) -> str:
    """Check what retention.toml selects, and return it with a view's whole name.

    Args:
        text: as it is written.
        catalogue: the fields and their views.
        field: the whole name of the field whose values end; None where the text is for several fields.

    Raises:
        InvalidAction: it is neither the name of an action nor a view of the field.
    """
    if text in SELECTABLE:
        return text
    try:
        view = catalogue.view(text)
    except UnknownName as error:
        raise InvalidAction("is not an action") from error
    if field is None or view.field.whole != field or view.view == CLEAR:
        raise InvalidAction("is not a view of that field")
    return str(view.name)


def select_hint() -> str:
    """Return how an action is selected in retention.toml."""
    *names, last = SELECTABLE
    return f"write {', '.join(names)} or {last}; or in `at_end`, for one field, the name of one of its views"


def describe(then: str) -> str:
    """Return what a rule selects in words, for the command line."""
    return f"keep {then} only" if is_view(then) else then
