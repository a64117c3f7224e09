"""``cdv erasures``: previews, progress, certificates and verification of erasures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from vault.catalogue.model import Scope
from vault.cli.command import command, make_group
from vault.cli.errors import FAILED
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.erasure.query import MAX_PAGE, check_again, list_erasures, preview_erasure, read_certificate
from vault.ids import SubjectId

group = make_group("cdv erasures list")

Names = list[str] | None
RequestId = Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request's id.")]


@command(group, "cdv erasures preview 0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1e", name="preview")
async def preview(
    session: Session,
    subject: Annotated[UUID, typer.Argument(metavar="ID", help="The person.")],
    field: Annotated[Names, typer.Option("--field", metavar="NAME", help="Only this field; may be repeated.")] = None,
    collection: Annotated[
        Names, typer.Option("--collection", metavar="NAME", help="Only this collection; may be repeated.")
    ] = None,
    purpose: Annotated[
        Names, typer.Option("--purpose", metavar="NAME", help="Only what this purpose alone needs; may be repeated.")
    ] = None,
) -> None:
    """Preview an erasure: for each field, whether it would be erased, or kept, on which ground and until when."""
    scope = Scope(tuple(field or ()), tuple(collection or ()), tuple(purpose or ()))
    view = await preview_erasure(session.services, session.caller, SubjectId(subject), scope)
    names = ("field", "records", "verdict", "article", "purpose", "until")
    rows: list[tuple[object, ...]] = [(line.field, line.records, "erased", None, None, None) for line in view.erased]
    rows += [
        (line.field, line.records, f"kept: {line.ground}", line.article, line.purpose, line.until) for line in view.kept
    ]
    if session.as_json:
        emit({**view.as_json(), "verdicts": [dict(zip(names, row, strict=True)) for row in rows]})
        return
    show_table(names, rows, empty="nothing would be erased")
    note(f"The person would be {view.becomes}.")


@command(group, "cdv erasures list", "cdv erasures list --json", name="list")
async def list_(session: Session) -> None:
    """List the latest erasures and their progress."""
    erasures = (await list_erasures(session.services, session.caller, limit=MAX_PAGE)).erasures
    if session.as_json:
        emit([erasure.as_json() for erasure in erasures])
        return
    rows = [
        (erasure.request, erasure.subject, erasure.state, erasure.started_at, erasure.finished_at)
        for erasure in erasures
    ]
    show_table(("request", "person", "state", "began", "done"), rows, empty="no erasures")


@command(group, "cdv erasures certificate REQUEST --out certificate.json", name="certificate", json=False)
async def certificate(
    session: Session,
    request: RequestId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write to.", show_default="standard output")
    ] = None,
) -> None:
    """Write the signed certificate of an erasure, for the person; `cdv verify` checks it."""
    document = await read_certificate(session.services, session.caller, request)
    written = json.dumps(document.as_json(), indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(written)
    else:
        out.write_text(written + "\n", encoding="utf-8")
        note(f"written to {out}")


@command(group, "cdv erasures check REQUEST", name="check")
async def check(session: Session, request: RequestId) -> None:
    """Scan the databases again for remains of an erased person; exit status 1 if there are any."""
    result = await check_again(session.services, session.caller, request)
    if session.as_json:
        emit(result.as_json())
    else:
        note(f"scanned {result.files} files ({result.bytes:,} bytes) and {result.rows:,} rows")
        note("nothing is left" if result.is_clean else f"found: {result.keys} keys, {result.wrong} rows")
    if not result.is_clean:
        raise typer.Exit(FAILED)
