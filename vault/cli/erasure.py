"""``cdv erasures``: what an erasure would do, how far each is, its certificate, and the look that finds nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.catalogue.model import Scope
from vault.cli.command import command, make_group
from vault.cli.errors import FAILED
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.erasure.query import MOST, check_again, list_erasures, preview_erasure, read_certificate
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.lifecycle.erasures import Erasure

group = make_group("cdv erasures list")

Names = list[str] | None
RequestId = Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request by which it was asked for.")]


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
    """Tell for every field whether it would be erased, or kept on which ground until when; change nothing."""
    scope = Scope(tuple(field or ()), tuple(collection or ()), tuple(purpose or ()))
    found = await preview_erasure(session.services, session.caller, SubjectId(subject), scope)
    rows = [_row(line) for line in found.lines]
    if session.as_json:
        names = ("field", "records", "verdict", "article", "purpose", "until")
        lines = [dict(zip(names, row, strict=True)) for row in rows]
        emit({"subject": found.subject, "becomes": found.becomes, "verdicts": lines, "audit": found.audit})
        return
    show_table(("field", "records", "verdict", "article", "purpose", "until"), rows, empty="nothing would be erased")
    note(f"The person would be {found.becomes}.")


@command(group, "cdv erasures list", "cdv erasures list --json", name="list")
async def list_(session: Session) -> None:
    """List the last erasures and how far each is."""
    found = (await list_erasures(session.services, session.caller, limit=MOST)).erasures
    if session.as_json:
        emit([_as_json(each) for each in found])
        return
    rows = [(each.request, each.subject, each.state, each.started_at, each.finished_at) for each in found]
    show_table(("request", "person", "state", "began", "done"), rows, empty="nobody was erased")


@command(group, "cdv erasures certificate REQUEST --out certificate.json", name="certificate", json=False)
async def certificate(
    session: Session,
    request: RequestId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there.", show_default="standard output")
    ] = None,
) -> None:
    """Hand out the signed certificate of an erasure, for the person; `cdv verify` checks it."""
    document = await read_certificate(session.services, session.caller, request)
    written = json.dumps(document, indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(written)
    else:
        out.write_text(written + "\n", encoding="utf-8")
        note(f"written to {out}")


@command(group, "cdv erasures check REQUEST", name="check")
async def check(session: Session, request: RequestId) -> None:
    """Look through the databases as they are now for anything that is left; status 1 where something is found."""
    seen = await check_again(session.services, session.caller, request)
    if session.as_json:
        emit(seen._asdict())
    else:
        note(f"looked through {seen.files} files ({seen.bytes:,} bytes) and {seen.rows:,} rows")
        note("nothing is left" if not seen.keys + seen.wrong else f"found: {seen.keys} keys, {seen.wrong} rows")
    if seen.keys or seen.wrong:
        raise typer.Exit(FAILED)


def _row(line: Any) -> tuple[Any, ...]:
    verdict = "erased" if line.ground is None else f"kept: {line.ground}"
    return line.field, line.records, verdict, line.article, line.purpose, line.until


def _as_json(erasure: Erasure) -> dict[str, Any]:
    return {
        "id": erasure.id,
        "request": erasure.request,
        "subject": erasure.subject,
        "state": erasure.state,
        "started_at": erasure.started_at,
        "finished_at": erasure.finished_at,
    }
