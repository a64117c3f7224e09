"""``cdv erasures``: what an erasure would do, how far each is, its certificate, and the look that finds nothing."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.errors import FAILED
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from vault.context import Services
    from vault.erasure.query import Preview
    from vault.erasure.verify import Seen
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure

app = make_group("Erase people: preview, progress, certificate, check.", "cdv erasures list")

Names = list[str] | None
RequestId = Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request by which it was asked for.")]


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(app, name="erasures")


@app.command("preview", epilog=examples("cdv erasures preview 0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1e"))
def preview(
    subject: Annotated[UUID, typer.Argument(metavar="ID", help="The person.")],
    field: Annotated[Names, typer.Option("--field", metavar="NAME", help="Only this field; may be repeated.")] = None,
    collection: Annotated[
        Names, typer.Option("--collection", metavar="NAME", help="Only this collection; may be repeated.")
    ] = None,
    purpose: Annotated[
        Names, typer.Option("--purpose", metavar="NAME", help="Only what this purpose alone needs; may be repeated.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Tell for every field whether it would be erased, or kept on which ground until when; change nothing."""

    async def work(services: Services, its: TenantId) -> Preview:
        from vault.access.callers import operator_caller
        from vault.catalogue.model import Scope
        from vault.erasure.query import preview_erasure
        from vault.ids import SubjectId

        scope = Scope(tuple(field or ()), tuple(collection or ()), tuple(purpose or ()))
        return await preview_erasure(services, operator_caller(its), SubjectId(subject), scope)

    found = in_tenant(vault, tenant, work)
    rows = [_row(line) for line in found.lines]
    if as_json:
        names = ("field", "records", "verdict", "article", "purpose", "until")
        lines = [dict(zip(names, row, strict=True)) for row in rows]
        emit({"subject": found.subject, "becomes": found.becomes, "verdicts": lines, "audit": found.audit})
        return
    show_table(("field", "records", "verdict", "article", "purpose", "until"), rows, empty="nothing would be erased")
    note(f"The person would be {found.becomes}.")


@app.command("list", epilog=examples("cdv erasures list", "cdv erasures list --json"))
def list_(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the last erasures and how far each is."""

    async def work(services: Services, its: TenantId) -> list[Erasure]:
        from vault.access.callers import operator_caller
        from vault.erasure.query import MOST, list_erasures

        return (await list_erasures(services, operator_caller(its), limit=MOST)).erasures

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_told(each) for each in found])
        return
    rows = [(each.request, each.subject, each.state, each.started_at, each.finished_at) for each in found]
    show_table(("request", "person", "state", "began", "done"), rows, empty="nobody was erased")


@app.command("certificate", epilog=examples("cdv erasures certificate REQUEST --out certificate.json"))
def certificate(
    request: RequestId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there.", show_default="standard output")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
) -> None:
    """Hand out the signed certificate of an erasure, for the person; `cdv verify` checks it."""

    async def work(services: Services, its: TenantId) -> dict[str, Any]:
        from vault.access.callers import operator_caller
        from vault.erasure.query import read_certificate

        return await read_certificate(services, operator_caller(its), request)

    written = json.dumps(in_tenant(vault, tenant, work), indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(written)
    else:
        out.write_text(written + "\n", encoding="utf-8")
        note(f"written to {out}")


@app.command("check", epilog=examples("cdv erasures check REQUEST"))
def check(request: RequestId, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Look through the databases as they are now for anything that is left; status 1 where something is found."""

    async def work(services: Services, its: TenantId) -> Seen:
        from vault.access.callers import operator_caller
        from vault.erasure.query import check_again

        return await check_again(services, operator_caller(its), request)

    seen = in_tenant(vault, tenant, work)
    if as_json:
        emit(seen._asdict())
    else:
        note(f"looked through {seen.files} files ({seen.bytes:,} bytes) and {seen.rows:,} rows")
        note("nothing is left" if not seen.keys + seen.wrong else f"found: {seen.keys} keys, {seen.wrong} rows")
    if seen.keys or seen.wrong:
        raise typer.Exit(FAILED)


def _row(line: Any) -> tuple[Any, ...]:
    verdict = "erased" if line.ground is None else f"kept: {line.ground}"
    return line.field, line.records, verdict, line.article, line.purpose, line.until


def _told(erasure: Erasure) -> dict[str, Any]:
    return {
        "id": erasure.id,
        "request": erasure.request,
        "subject": erasure.subject,
        "state": erasure.state,
        "started_at": erasure.started_at,
        "finished_at": erasure.finished_at,
    }
