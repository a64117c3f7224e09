"""Tell which fields of a person are over or held for a purpose, without opening any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.retention.filter import HELD, RETENTION_OVER, bodies_of, gates
from vault.subjects.record_body import open_body, unpack
from vault.subjects.store import PROFILE, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.catalogue.model import FieldView
    from vault.context import House
    from vault.errors import Refusal
    from vault.ids import SubjectId, TenantId
    from vault.policy.decision import Decision
    from vault.retention.filter import Body, Gate


async def kept_back(house: House, tenant: TenantId, subject: SubjectId, decision: Decision) -> dict[str, Refusal]:
    """Tell, by the name asked for, why no value of a field is shown although there is one; others are left out.

    Raises:
        CannotOpen: a record is none.
        Unavailable: the database does not answer.
    """
    many = tuple(sorted({view.field.collection for _asked, view in decision.granted} - {PROFILE}))
    (found,) = await house.subjects.find(Wanted(tenant, (subject,), profile=True, many=many))
    if found is None:
        return {}
    bodies = list(bodies_of(found))
    gate = (await gates(house, tenant, decision.purpose, [found], bodies, house.clock.now()))[subject]
    told = {}
    for asked, view in decision.granted:
        answers = list(_answers(gate, bodies, view))
        if answers and all(answers):
            told[asked] = HELD if HELD in answers else RETENTION_OVER
    return told


def _answers(gate: Gate, bodies: list[Body], view: FieldView) -> Iterator[Refusal | None]:
    """Ask for each value of a field, as it lies there."""
    field = view.field
    for body in bodies:
        if body.collection != field.collection:
            continue
        sealed, values = open_body(body.packed), unpack(body.packed)
        general = f"{field.name}.{view.view}"
        name = general if field.name not in values and general in values else field.name
        stored = values.get(name)
        if stored is None:
            continue
        yield gate.before(body.collection, body.record).refusal(sealed, name, stored, view.view)
