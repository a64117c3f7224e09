"""``cdv consent``: consents, objections and restrictions. Evidence and reasons stay sealed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args
from uuid import UUID

import typer

from vault.cli.command import (
    FUTURE_FORMS,
    PAST_FORMS,
    SUBJECT,
    Opener,
    Reason,
    Session,
    command,
    future,
    make_group,
    past,
)
from vault.cli.imports import IMPORT_TIMEOUT, DryRun, Errors, ImportProgress, show_outcome
from vault.cli.output import FAILED, emit, note, show_table
from vault.cli.progress import counter
from vault.cli.subject import FORMS, Subject, argument
from vault.consent.expiry import expire_lapsed
from vault.consent.query import check_consents, consent_state
from vault.consent.receipts.issue import read_receipt
from vault.consent.record import record_consent
from vault.consent.restrictions import Decided, RestrictionGround, decide_objection, lift_restriction, record_objection
from vault.consent.restrictions import restrict as restrict_subject
from vault.consent.store import compare, repair_state
from vault.consent.validation import ConsentStatement, Decision
from vault.consent.views import ConsentComparison, ExpiredConsents
from vault.ids import SubjectId
from vault.imports.consent_files import ConsentFile, ConsentMapping, import_consents_file, read_consent_mapping
from vault.letters.about_requests import announce_lifting
from vault.wording import counted

if TYPE_CHECKING:
    from vault.consent.views import RecordedEvent

group = make_group(
    f"cdv consent show {SUBJECT}",
    f"cdv consent record {SUBJECT} --purpose direct-marketing --decision withdrawn",
    "cdv consent verify",
)


Purpose = Annotated[str, typer.Option(metavar="NAME", help="A purpose of purposes.toml.")]
OptionalReason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why, in one line; sealed.")]


@command(
    group,
    f"cdv consent record {SUBJECT} --purpose direct-marketing --decision given --notice marketing@3 "
    "--method form --evidence 'form 4711, folder 12'",
    f"cdv consent record {SUBJECT} --purpose direct-marketing --decision withdrawn --channel phone",
)
async def record(
    session: Session,
    subject: Subject,
    purpose: Purpose,
    decision: Annotated[Decision, typer.Option(help="The person's decision.")],
    notice: Annotated[
        str | None, typer.Option(metavar="NAME@N", help="The version that was shown; required to agree.")
    ] = None,
    language: Annotated[str | None, typer.Option(metavar="TAG", help="Language of the notice.")] = None,
    method: Annotated[
        str | None, typer.Option(metavar="WORD", help="How: form, oral, signature …; required to agree.")
    ] = None,
    channel: Annotated[str | None, typer.Option(metavar="NAME", help="Where: store, phone …")] = None,
    by: Annotated[Literal["subject", "guardian", "staff"], typer.Option(help="Who decided.")] = "subject",
    evidence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Where the proof is, in one line; sealed.")
    ] = None,
    jurisdiction: Annotated[str | None, typer.Option(metavar="CODE", help="The law that applies, such as IE.")] = None,
    at: Annotated[datetime | None, past(help=f"When the person decided: {PAST_FORMS}.", show_default="now")] = None,
    until: Annotated[datetime | None, future(help=f"When an agreement expires: {FUTURE_FORMS}.")] = None,
) -> None:
    """Record a person's decision on a purpose that rests on consent, such as from a form or a call."""
    statement = ConsentStatement(
        purpose=purpose,
        decision=decision,
        notice=notice,
        language=language,
        channel=channel,
        method=method,
        by=by,
        evidence=evidence,
        jurisdiction=jurisdiction,
        occurred_at=at,
        valid_until=until,
    )
    recorded = await record_consent(session.services, session.caller, SubjectId(subject), statement)
    session.show(recorded, _sentence(recorded))
    if recorded.confirmation is not None and not session.as_json:
        note("The person confirms it by this token, which is shown once:")
        typer.echo(recorded.confirmation.token)


@command(group, f"cdv consent show {SUBJECT}")
async def show(session: Session, subject: Subject) -> None:
    """Show the state of a person's consents by purpose, and the latest events; evidence stays sealed."""
    overview = await consent_state(session.services, session.caller, SubjectId(subject))
    if session.as_json:
        emit(overview.as_json())
        return
    rows = [
        (name, consent.state, consent.since, consent.notice, "ask again" if consent.renew else "", consent.objection)
        for name, consent in sorted(overview.consents.items())
    ]
    show_table(("purpose", "consent", "since", "notice", "", "objection"), rows, empty="no purpose rests on consent")
    events = [(event.occurred_at, event.kind, event.purpose, event.by) for event in overview.history]
    show_table(("said", "event", "purpose", "by"), events, empty="no events")
    note(f"The person's data is {overview.state}.")


@command(group, f"cdv consent check --purpose direct-marketing {SUBJECT}")
async def check(
    session: Session,
    subject: Annotated[list[UUID], argument(metavar="SUBJECT...", help=f"People; for each {FORMS}.")],
    purpose: Annotated[list[str], typer.Option(metavar="NAME", help="A purpose; may be repeated.")],
) -> None:
    """Check for each person whether purposes may go on now; exit status 1 if one may not."""
    subjects = [SubjectId(id_) for id_ in subject]
    checked = await check_consents(session.services, session.caller, subjects=subjects, purposes=purpose)
    rows = (
        (result.subject, name, "yes" if permitted else "no")
        for result in checked.results
        for name, permitted in result.purposes.items()
    )
    session.show_table(checked.results, ("subject", "purpose", "may"), rows, empty="no subjects")
    if not all(permitted for result in checked.results for permitted in result.purposes.values()):
        raise typer.Exit(FAILED)


@command(group, f"cdv consent object {SUBJECT} --purpose fraud-prevention", name="object")
async def object_(session: Session, subject: Subject, purpose: Purpose, reason: OptionalReason = None) -> None:
    """Record that a person objects to a purpose (Art. 21); its use of the data stops at once."""
    recorded = await record_objection(
        session.services, session.caller, SubjectId(subject), purpose=purpose, reason=reason
    )
    session.show(recorded, _sentence(recorded))


@command(group, f"cdv consent decide {SUBJECT} {SUBJECT} --as overruled --reason 'fraud case 17, compelling'")
async def decide(
    session: Session,
    subject: Subject,
    event: Annotated[UUID, typer.Argument(metavar="EVENT", help="The objection's id.")],
    verdict: Annotated[Decided, typer.Option("--as", help="The decision.")],
    reason: Reason,
) -> None:
    """Decide a pending objection."""
    recorded = await decide_objection(
        session.services, session.caller, SubjectId(subject), event, decision=verdict, reason=reason
    )
    session.show(recorded, _sentence(recorded))


@command(group, "cdv consent verify", "cdv consent verify --repair")
async def verify(
    session: Session,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write the state that follows from the events to rows that differ.")
    ] = False,
) -> None:
    """Compute the state of all people from their events and compare; exit status 1 if a row differs."""
    people, wrong, repaired = 0, [], 0
    with counter("comparing", quiet=session.as_json) as advance:
        async for step in compare(session.services, session.tenant):
            people += step.people
            wrong += [difference.subject for difference in step.differences]
            advance(step.people)
    if repair and wrong:
        if not session.as_json:
            note(f"{counted(len(wrong), 'row differs', 'rows differ')}; repaired from the events.")
        for subject in wrong:
            await repair_state(session.services, session.tenant, subject)
            repaired += 1
    if session.as_json:
        emit(ConsentComparison(people=people, differences=list(wrong), repaired=repaired))
    else:
        for subject in wrong:
            typer.echo(f"{subject}: the row differs from the events")
        note(f"compared: {counted(people, 'person', 'people')}, {len(wrong):,} wrong, {repaired:,} repaired")
    if len(wrong) > repaired:
        raise typer.Exit(FAILED)


@command(group, "cdv consent expire")
async def expire(session: Session) -> None:
    """Write an event for each expired consent; reads respect the end of a consent even without it."""
    people = ended = 0
    with counter("checking", quiet=session.as_json) as advance:
        async for step in expire_lapsed(session.services, session.caller):
            people += step.people
            ended += step.ended
            advance(step.people)
    session.show(
        ExpiredConsents(people=people, expired=ended),
        f"checked: {counted(people, 'person', 'people')}; {counted(ended, 'consent')} expired",
    )


@command(group, f"cdv consent restrict {SUBJECT} --ground accuracy")
async def restrict(
    session: Session,
    subject: Subject,
    ground: Annotated[
        RestrictionGround,
        typer.Option(metavar="WHY", help=f"Art. 18(1)(a) to (d): {', '.join(get_args(RestrictionGround))}."),
    ],
    reason: OptionalReason = None,
) -> None:
    """Restrict a person's data (Art. 18): it is stored and, except in the cases of Art. 18(2), not used."""
    recorded = await restrict_subject(
        session.services, session.caller, SubjectId(subject), ground=ground, reason=reason
    )
    session.show(recorded, _sentence(recorded))


@command(group, f"cdv consent announce {SUBJECT}", f"cdv consent announce {SUBJECT} --told 'letter of 3 May'")
async def announce(
    session: Session,
    subject: Subject,
    told: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="How the person was informed, if not by a letter from the vault; sealed."),
    ] = None,
) -> None:
    """Inform the person, by letter, that a restriction will be lifted after the notice period (Art. 18(3))."""
    announced = await announce_lifting(session.services, session.caller, SubjectId(subject), told=told)
    session.show(
        announced,
        f"Recorded as {announced.id}: the restriction can be lifted from {announced.lift_from:%Y-%m-%d %H:%M} UTC.",
    )


@command(group, f"cdv consent lift {SUBJECT} --reason 'address corrected'")
async def lift(session: Session, subject: Subject, reason: OptionalReason = None) -> None:
    """Lift a restriction, once the person was informed and the notice period is over (Art. 18(3))."""
    recorded = await lift_restriction(session.services, session.caller, SubjectId(subject), reason=reason)
    session.show(recorded, _sentence(recorded))


@command(
    group,
    "cdv consent import consents.csv --source old-crm --system shop --dry-run",
    "cdv consent import export.jsonl --mapping consents.toml --errors refused.jsonl",
    name="import",
    database_timeout=IMPORT_TIMEOUT,
)
async def import_consents(
    opener: Opener,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.", exists=True, dir_okay=False)
    ],
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Source of the consents; overrides the mapping's. One of both is required."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="NAME", help="System of the ids in the column external_id.")
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="M.toml", help="Maps columns to fields; without it, columns have the names in the docs."),
    ] = None,
    dry_run: DryRun = False,
    errors: Errors = None,
) -> None:
    """Import consents, refusals, withdrawals and objections from a file.

    An agreement from a file never replaces a recorded refusal. A second import of the same file changes nothing. Exit
    status 1 if lines were refused; all other lines are imported.
    """
    consents = ConsentFile(
        file,
        ConsentMapping() if mapping is None else read_consent_mapping(mapping),
        source=source,
        system=system,
        dry_run=dry_run,
    )
    async with opener.session() as session:
        with ImportProgress(file, "consents", errors, quiet=session.as_json) as progress:
            report = await import_consents_file(session.services, replace(consents, tenant=session.tenant), progress)
    if opener.as_json:
        emit(report.as_json())
    else:
        would = "would be " if report.dry_run else ""
        counts = f"{report.written:,} {would}written, {report.there:,} there already, {report.refused:,} refused"
        show_outcome(report, counts)
    if report.refused:
        raise typer.Exit(FAILED)


@command(
    group,
    f"cdv consent receipt {SUBJECT} 0199aabb-0000-7000-8000-000000000002 > receipt.json",
    name="receipt",
    json=False,
)
async def print_receipt(
    session: Session,
    subject: Subject,
    event: Annotated[UUID, typer.Argument(metavar="EVENT", help="Id of the event, as `cdv consent show` lists it.")],
    form: Annotated[
        Literal["dpv", "kantara"], typer.Option("--format", help="ISO/IEC TS 27560 as JSON-LD, or Kantara 1.1.")
    ] = "dpv",
) -> None:
    """Print the signed receipt of an event. It contains no personal value; `cdv verify` checks it."""
    receipt = await read_receipt(session.services, session.caller, SubjectId(subject), event, form=form)
    typer.echo(json.dumps(receipt.as_json(), ensure_ascii=False, indent=2))


def _sentence(recorded: RecordedEvent) -> str:
    return f"Recorded as {recorded.id}: {recorded.state} now."
