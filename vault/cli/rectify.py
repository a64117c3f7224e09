"""``cdv rectify``: what was corrected of a person's data, what is disputed. It shows words and values of nobody's."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from vault.context import Services
    from vault.ids import TenantId
    from vault.rectification.disputes import Disputed, Resolved
    from vault.rectification.query import Rectifications

SUBJECT = "0199aabb-0000-7000-8000-000000000001"
DISPUTE = "0199aabb-0000-7000-8000-000000000002"

app = make_group(
    "Corrections and disputes of people's data (Arts. 16 and 18 GDPR). A correction itself is a request: cdv requests.",
    f"cdv rectify list {SUBJECT}",
    f"cdv rectify dispute {SUBJECT} --field address --statement 'never lived there'",
)


class Verdict(StrEnum):
    """How a dispute is decided."""

    upheld = "upheld"
    refused = "refused"


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]


def register(root: typer.Typer) -> None:
    """Add the group."""
    root.add_typer(app, name="rectify")


@app.command("list", epilog=examples(f"cdv rectify list {SUBJECT}"))
def list_(
    subject: Subject,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="COUNT", min=1, max=200, help="At most so many.")] = 50,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """List corrections, statements and disputes, the oldest first: names of fields and dates."""

    async def work(services: Services, its: TenantId) -> Rectifications:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.rectification.query import list_rectifications

        return await list_rectifications(services, operator_caller(its), SubjectId(subject), limit=limit)

    rows = [each.rectification for each in in_tenant(vault, tenant, work).items]
    if as_json:
        emit(
            [
                {"id": row.id, "field": row.whole, "record": row.record, "state": row.state, "at": row.at}
                | {"closed_at": row.closed_at, "request": row.request}
                for row in rows
            ]
        )
        return
    told = [(row.at, row.whole, row.state, row.closed_at, row.id) for row in rows]
    show_table(("at", "field", "state", "decided", "id"), told, empty="nothing was corrected, and nothing is disputed")


@app.command(
    epilog=examples(f"cdv rectify dispute {SUBJECT} --field address --statement 'never lived there' --restrict")
)
def dispute(
    subject: Subject,
    field: Annotated[
        list[str], typer.Option("--field", metavar="NAME", help="A field of the profile; may be repeated.")
    ],
    statement: Annotated[str, typer.Option("--statement", metavar="TEXT", help="What the person says; sealed.")],
    restrict: Annotated[bool, typer.Option("--restrict", help="Restrict the data until it is decided.")] = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Note that a person says that values are wrong (Arts. 16 and 18(1)(a))."""

    async def work(services: Services, its: TenantId) -> Disputed:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.rectification.disputes import dispute as note_dispute

        return await note_dispute(
            services, operator_caller(its), SubjectId(subject), fields=field, statement=statement, restrict=restrict
        )

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit({"disputes": found.disputes, "state": found.state})
        return
    for name, made in found.disputes.items():
        note(f"{name} is disputed: {made}")
    note(f"The person's data is {found.state}.")


@app.command(epilog=examples(f"cdv rectify resolve {SUBJECT} {DISPUTE} --as refused --reason 'shown by the contract'"))
def resolve(
    subject: Subject,
    dispute: Annotated[UUID, typer.Argument(metavar="DISPUTE", help="The dispute's id.")],
    verdict: Annotated[Verdict, typer.Option("--as", help="How it is decided.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in one line; sealed.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Decide a dispute: upheld, the value is wrong and is to be corrected; refused, it is right."""

    async def work(services: Services, its: TenantId) -> Resolved:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.rectification.disputes import resolve_dispute

        who = operator_caller(its)
        return await resolve_dispute(services, who, SubjectId(subject), dispute, verdict=verdict.value, reason=reason)

    resolved = in_tenant(vault, tenant, work)
    if as_json:
        emit({"id": resolved.id, "state": resolved.state})
    else:
        note(f"{resolved.id} is {resolved.state}.")
