"""Views of the sweep: one run, what ends in the next days, and what a run would do now."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from vault.catalogue.retention_actions import ACTIONS, THEN_DESCRIPTION
from vault.sweep.store import Kind, State
from vault.views import Moment, View

if TYPE_CHECKING:
    from vault.catalogue.retention_actions import RetentionAction
    from vault.sweep.store import SweepRun

Then = Annotated[str, Field(description=THEN_DESCRIPTION)]


class EndingValues(View):
    """How many values of a field end on a day."""

    on: Annotated[date, Field(description="The first day on which they are gone (UTC).")]
    field: Annotated[str, Field(examples=["profile.email"])]
    then: Then
    values: int


OverdueState = Literal["next-sweep", "in-review", "held"]


class OverdueValues(View):
    """How many values of a field are over and still there, or are held beyond their end."""

    field: str
    state: OverdueState
    then: Then
    values: int


class RetentionForecast(View):
    """What ends in the next days, as things are today."""

    today: date
    until: date
    ends: list[EndingValues]
    waiting: list[OverdueValues]


class RetentionPreview(RetentionForecast):
    """What ends in the next days, as things are today; counted without opening a value."""

    people: Annotated[int, Field(description="How many subjects were evaluated for this answer.")]
    next: Annotated[UUID | None, Field(description="Pass it as `after` and add up. Null: these were all.")]
    audit: Annotated[UUID, Field(description="The audit entry of this answer.")]


class SweepDryRun(View):
    """What a sweep would do now."""

    people: Annotated[int, Field(description="How many subjects were evaluated.")]
    would: list[OverdueValues]


def _add_counters(schema: dict[str, Any]) -> None:
    """Document the counters of the actions, which are not declared as fields."""
    schema["additionalProperties"] = False
    for action in ACTIONS:
        title = action.counter.capitalize()
        schema["properties"][action.counter] = {"type": "integer", "title": title, "description": action.description}
        schema["required"].append(action.counter)


class SweepCounts(View):
    """What a sweep did so far; in addition to these fields, values by the action that was applied to them."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_add_counters)

    of: Annotated[int, Field(description="Subjects there were to evaluate when it began.")]
    people: int
    records: int
    whole: Annotated[int, Field(description="Subjects that were erased completely.")]
    waiting: Annotated[int, Field(description="Subjects left alone until the next day: a request of theirs is open.")]
    unreadable: Annotated[int, Field(description="Subjects left alone because a value of theirs does not open.")]

    def of_action(self, action: RetentionAction) -> int:
        """Return how many values an action was applied to."""
        counters: dict[str, int] = self.model_extra or {}
        return counters.get(action.counter, 0)


class Sweep(View):
    """One sweep."""

    id: UUID
    kind: Annotated[Kind, Field(description="`all` after a change of the policies; else only the subjects due.")]
    state: Annotated[State, Field(description="`to-confirm`: it deletes nothing before it is confirmed.")]
    policy: Annotated[str, Field(description="The version of the policies by which it evaluates.")]
    started_at: Moment
    changed_at: Moment
    finished_at: Moment | None
    counts: SweepCounts

    @classmethod
    def of(cls, run: SweepRun) -> Self:
        """Return the view of a stored run."""
        shown = {name: getattr(run, name) for name in cls.model_fields if name != "counts"}
        return cls(**shown, counts=SweepCounts.model_validate(run.counts.by_name()))


class SweepPage(View):
    """Sweeps, the newest first."""

    sweeps: list[Sweep]
    next: Annotated[UUID | None, Field(description="The cursor of the next page. Null: this is the last one.")]
