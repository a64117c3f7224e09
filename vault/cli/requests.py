"""``cdv requests``: requests of data subjects. ``cdv jobs``: the background jobs that execute them.

What a request says is read from files, and never shown.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from vault.catalogue.company import KINDS, KindName
from vault.catalogue.model import Scope
from vault.cli.command import (
    PAST_FORMS,
    Names,
    Opener,
    Request,
    Session,
    VaultSession,
    Yes,
    command,
    make_group,
    resolved,
)
from vault.cli.command import received as received_option
from vault.cli.output import FAILED, emit, note, show_table
from vault.cli.subject import HELP, option
from vault.errors import NotFound
from vault.identity.verify import note_evidence
from vault.ids import SubjectId
from vault.jobs.runner import JobsUnavailable
from vault.jobs.workflow import EndedJob
from vault.requests import decide
from vault.requests.decide import (
    Outcome,
    Reason,
    approve_request,
    cancel_request,
    complete_request,
    expire_requests,
    extend_request,
    reject_request,
    reopen_request,
    require_verified,
)
from vault.requests.model import OPEN, Regime
from vault.requests.query import Urgency, list_of_requests, show_request
from vault.requests.store import RequestQuery, find_request
from vault.requests.submit import Submission, submit_request
from vault.requests.transaction import no_request
from vault.requests.views import DecidedRequest, ExpiredRequests, RequestDetails
from vault.storage.diagnosis import explained
from vault.wording import counted
from vault.workflows import OPEN as UNFINISHED
from vault.workflows import REQUEST_WORKFLOWS, STATES, list_jobs, work_off

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.jobs.workflow import Job
    from vault.requests.model import Request as StoredRequest
    from vault.requests.views import DataSubjectRequest
    from vault.workflows import Ended

REQUEST = "0199aabb-0000-7000-8000-000000000001"
SUBJECT = "0199ccdd-0000-7000-8000-000000000001"
PAGE = 200

group = make_group(
    "cdv requests list",
    f"cdv requests submit access --subject {SUBJECT}",
    f"cdv requests verify {REQUEST} --evidence 'identity card seen at the counter'",
)


class Kind(StrEnum):
    """A kind of request, for options that may be repeated: those take no literals."""

    _ignore_ = "kind"
    for kind in KINDS:
        vars()[kind] = kind


@command(
    group,
    f"cdv requests submit access --subject {SUBJECT} --channel letter --received 3d",
    "cdv requests submit erasure --email",
    f"cdv requests submit objection --subject {SUBJECT} --purpose direct-marketing",
    f"cdv requests submit rectification --subject {SUBJECT} --details changes.json",
)
async def submit(
    opener: Opener,
    kind: Annotated[
        KindName, typer.Argument(metavar="KIND", show_choices=False, help=f"The kind of request: {', '.join(KINDS)}.")
    ],
    subject: Annotated[UUID | None, option(help=HELP)] = None,
    email: Annotated[
        bool, typer.Option("--email", help="Ask for the person's e-mail address, or read it from standard input.")
    ] = False,
    external_id: Annotated[Names, typer.Option(metavar="SYSTEM=ID", help="Or their id in another system.")] = None,
    regime: Annotated[Regime, typer.Option(help="The law whose rules and deadlines apply.")] = "gdpr",
    jurisdiction: Annotated[
        str | None, typer.Option(metavar="CODE", help="The country or region for public holidays: DE, DE-BY.")
    ] = None,
    language: Annotated[str | None, typer.Option(metavar="TAG", help="Language of the answer.")] = None,
    channel: Annotated[str | None, typer.Option(metavar="NAME", help="Channel by which it was received.")] = None,
    received: Annotated[
        datetime | None, received_option(help=f"When it was received: {PAST_FORMS}.", show_default="now")
    ] = None,
    purpose: Annotated[Names, typer.Option(metavar="NAME", help="About this purpose; may be repeated.")] = None,
    collection: Annotated[Names, typer.Option(metavar="NAME", help="About this collection; may be repeated.")] = None,
    field: Annotated[Names, typer.Option(metavar="NAME", help="About this field; may be repeated.")] = None,
    details: Annotated[Path | None, typer.Option(metavar="FILE", help="Details as a JSON file; sealed.")] = None,
    follows: Annotated[
        UUID | None, typer.Option(metavar="ID", help="An earlier request that this one follows.")
    ] = None,
) -> None:
    """Submit a request. It changes nothing before it is verified."""
    identity = _ask_identity(external_id or [], email=email)
    submission = Submission(
        kind,
        None if subject is None else SubjectId(subject),
        identity,
        regime,
        jurisdiction,
        language,
        channel,
        Scope(tuple(field or ()), tuple(collection or ()), tuple(purpose or ())),
        _read_details(details),
        received,
        follows,
    )
    async with opener.session() as session:
        submission = replace(submission, subject=await resolved(submission.subject, session))
        submitted = await submit_request(session.services, session.caller, submission)
    if opener.as_json:
        emit({"duplicate_of": None, **submitted.as_json()})
        return
    note(f"Due on {submitted.due} ({submitted.due_rule}); better by {submitted.internal_due}.")
    if submitted.duplicate_of is not None:
        note(f"The person has asked for the same already: {submitted.duplicate_of}.")
    typer.echo(submitted.id)


@command(group, "cdv requests list", "cdv requests list --due overdue --json", name="list")
async def list_(
    session: Session,
    state: Annotated[Names, typer.Option(metavar="NAME", help="Only this state; may be repeated.")] = None,
    kind: Annotated[
        list[Kind] | None,
        typer.Option(metavar="KIND", help=f"Only this kind; may be repeated. Kinds: {', '.join(KINDS)}."),
    ] = None,
    subject: Annotated[UUID | None, option(help="Only requests of this person.")] = None,
    due: Annotated[Urgency | None, typer.Option(help="Only overdue requests, or those due within a week.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Include closed requests.")] = False,
) -> None:
    """List open requests, the most urgent first, with the remaining days."""
    requests: list[DataSubjectRequest] = []
    cursor = None
    query = RequestQuery(
        subject=None if subject is None else SubjectId(subject),
        states=state or (() if every else OPEN),
        kinds=[chosen.value for chosen in kind or ()],
        limit=PAGE,
    )
    while True:
        page = await list_of_requests(session.services, session.caller, query, urgency=due, cursor=cursor)
        requests += page.requests
        cursor = page.next
        if cursor is None:
            break
    is_narrowed = bool(state or kind or subject or due)
    empty = "no request matches" if is_narrowed else "no requests" if every else "no open requests"
    rows = (
        (request.id, request.kind, request.state, request.due, _left(request), _marks(request)) for request in requests
    )
    session.show_table(requests, ("request", "kind", "state", "due", "left", ""), rows, empty=empty)


@command(group, f"cdv requests show {REQUEST}")
async def show(session: Session, request: Request) -> None:
    """Show a request with its history; notes and details stay sealed."""
    details = await show_request(session.services, session.caller, request)
    if session.as_json:
        emit(details)
        return
    assert isinstance(details, RequestDetails)  # noqa: S101 - the operator may read all of a request
    verification = details.verification
    facts = {
        "kind": details.kind,
        "state": details.state,
        "person": details.subject,
        "received": details.received_at,
        "due": f"{details.due}, {_left(details) or 'suspended'}",
        "by the rule": details.due_rule,
        "own deadline": details.internal_due,
        "verified": "no" if verification is None else f"{verification.how}, {verification.level}",
        "result": details.ground or details.outcome,
        "package": details.package,
    }
    show_table(("", ""), [(name, fact) for name, fact in facts.items() if fact is not None], empty="")
    events = [(event.at, event.move, event.code, event.after, event.by_name) for event in details.history]
    show_table(("at", "move", "why", "then", "by"), events, empty="no events")


def _ask_identity(external_ids: list[str], *, email: bool) -> Mapping[str, object] | None:
    if email:
        return {"email": typer.prompt("E-mail address", err=True)}
    if not external_ids:
        return None
    pairs = [typed.partition("=") for typed in external_ids]
    return {"external_id": {system: value for system, _, value in pairs}}


def _read_details(path: Path | None) -> dict[str, object] | None:
    if path is None:
        return None
    try:
        details = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        details = None
    if not isinstance(details, dict):
        raise typer.BadParameter("the file does not contain a JSON object", param_hint="'--details'")
    return details


def _left(request: DataSubjectRequest) -> str:
    days = request.days_left
    if days is None:
        return ""
    if days < 0:
        return f"{counted(-days, 'day')} overdue"
    return "today" if days == 0 else counted(days, "day")


def _marks(request: DataSubjectRequest) -> str:
    marks = {
        "not verified": not request.verified,
        "extended": request.extended,
        "asked twice": request.duplicate_of is not None,
        "signed once": request.state == "in_review" and bool(request.approvals),
    }
    return ", ".join(name for name, is_so in marks.items() if is_so)


Note = Annotated[str | None, typer.Option(metavar="TEXT", help="Why, in one line; sealed.")]
Later = Annotated[bool, typer.Option("--later", help="Leave the execution to a server or `cdv jobs run`.")]


@command(group, f"cdv requests verify {REQUEST} --evidence 'identity card seen'")
async def verify(
    session: Session,
    request: Request,
    evidence: Annotated[str, typer.Option(metavar="TEXT", help="The evidence, in one line; sealed.")],
    later: Later = False,
) -> None:
    """Record that you verified the requester's identity. Requests that need no approval are executed."""
    decided = await note_evidence(session.services, session.caller, request, evidence)
    await _carry_out(session, decided, later=later)


@command(group, f"cdv requests approve {REQUEST}")
async def approve(
    opener: Opener,
    request: Request,
    note: Note = None,
    later: Later = False,
    yes: Yes = False,
) -> None:
    """Approve a verified request and execute it; with dual approval, this is one of two approvals."""
    if not yes:
        async with opener.session() as session:
            question = await _approval_question(session, request)
        typer.confirm(question, abort=True, err=True)
    async with opener.session() as session:
        decided = await approve_request(session.services, session.caller, request, note=note)
        await _carry_out(session, decided, later=later)


async def _approval_question(session: Session, request: UUID) -> str:
    """Return what to ask before an approval.

    Raises:
        NotFound: there is no such request.
        WrongState: it cannot be approved, for instance because it is not verified.
    """
    keys = await session.services.keyring.row_keys(session.tenant)
    async with session.services.data.reading() as connection:
        stored = await find_request(connection, keys, request)
    if stored is None:
        raise no_request()
    kind = session.services.request_kinds[stored.request.kind]
    require_verified(stored.request, kind)
    if kind.erases:
        return "Execute the request for erasure? What it erases cannot be brought back."
    return f"Execute the request ({stored.request.kind})?"


@command(group, f"cdv requests reject {REQUEST} --ground legal-obligation --note 'see § 147 AO'")
async def reject(
    session: Session,
    request: Request,
    ground: Annotated[str, typer.Option(metavar="CODE", help="A legal ground; see the docs.")],
    note: Note = None,
) -> None:
    """Reject a request; the person is informed of the ground and the remedies."""
    decided = await reject_request(session.services, session.caller, request, ground=ground, note=note)
    await _carry_out(session, decided, letter="tell-rejected")


@command(group, f"cdv requests extend {REQUEST} --reason complexity")
async def extend(
    session: Session,
    request: Request,
    reason: Annotated[Reason, typer.Option(help="The reason.")],
    note: Note = None,
) -> None:
    """Extend the deadline, once and before it has passed; the person is informed."""
    decided = await extend_request(session.services, session.caller, request, reason=reason, note=note)
    await _carry_out(session, decided, letter="tell-extended")


@command(group, f"cdv requests ask-identity {REQUEST}", name="ask-identity")
async def ask_identity(session: Session, request: Request, note: Note = None) -> None:
    """Request proof of identity. If requested in time, the deadline is suspended."""
    decided = await decide.ask_identity(session.services, session.caller, request, note=note)
    await _carry_out(session, decided, letter="tell-identity")


@command(group, f"cdv requests complete {REQUEST} --outcome changed")
async def complete(
    session: Session,
    request: Request,
    outcome: Annotated[Outcome, typer.Option(help="The outcome.")],
    note: Note = None,
) -> None:
    """Complete a review of an automated decision."""
    decided = await complete_request(session.services, session.caller, request, outcome=outcome, note=note)
    await _carry_out(session, decided, letter="tell-completed")


@command(group, f"cdv requests cancel {REQUEST}")
async def cancel(session: Session, request: Request, note: Note = None) -> None:
    """Cancel a request that is not being executed."""
    decided = await cancel_request(session.services, session.caller, request, note=note)
    await _carry_out(session, decided)


@command(group, f"cdv requests reopen {REQUEST}")
async def reopen(session: Session, request: Request, note: Note = None) -> None:
    """Reopen a closed request: unverified, with its history and its original deadline."""
    decided = await reopen_request(session.services, session.caller, request, note=note)
    await _carry_out(session, decided)


@command(group, "cdv requests expire")
async def expire(session: VaultSession) -> None:
    """Expire requests of all tenants that were not verified in time; a running server does so periodically."""
    expired = await expire_requests(session.services)
    session.show(ExpiredRequests(expired=expired), f"{counted(expired, 'request')} expired")


async def _carry_out(
    session: Session, request: StoredRequest, *, letter: str | None = None, later: bool = False
) -> None:
    """Execute an approved request, or send the letter of a decision, and print the state of the request."""
    job = request.kind if request.state == "approved" and not later else letter
    wait = None
    if job is not None:
        wait = await session.services.jobs.run_in_foreground(
            session.services,
            REQUEST_WORKFLOWS[job],
            session.tenant,
            request.id,
            watch=None if session.as_json else (lambda step: note(f"  {step} …")),
        )
        keys = await session.services.keyring.row_keys(session.tenant)
        async with session.services.data.reading() as connection:
            stored = await find_request(connection, keys, request.id)
        request = request if stored is None else stored.request
    sentences = [f"The request is {request.state.replace('_', ' ')}; due on {request.due.on}."]
    if wait is not None:
        sentences.append("Its job is waiting; a running server, or `cdv jobs run`, continues it.")
    answer = DecidedRequest(id=request.id, state=request.state, due=request.due.on, waits=wait)
    session.show(answer, *sentences)


jobs_group = make_group(
    "cdv jobs list",
    "cdv jobs show 0199aabb-…",
    "cdv jobs run",
)


@command(jobs_group, "cdv jobs list", "cdv jobs list --all --limit 100 --json", name="list")
async def list_of_jobs(
    session: Session,
    every: Annotated[bool, typer.Option("--all", help="Include finished jobs.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="Maximum number of jobs.")] = 50,
) -> None:
    """List unfinished jobs."""
    states = STATES if every else UNFINISHED
    jobs = await _jobs_of(session, states=states, limit=limit)
    hint = "A running server starts pending jobs within seconds; without one, run `cdv jobs run`."
    _show_jobs(session, jobs, then=hint if any(job.state == "pending" for job in jobs) else None)


@command(jobs_group, "cdv jobs show 0199aabb-…", name="show")
async def show_job(
    session: Session,
    job: Annotated[UUID, typer.Argument(metavar="ID", help="Id of the request or notice.")],
) -> None:
    """Show all jobs for one request or notice."""
    jobs = await _jobs_of(session, states=STATES, of=job, limit=500)
    if not jobs:
        raise NotFound("no job found for this id", hint="`cdv jobs list --all` names them")
    _show_jobs(session, jobs)


async def _jobs_of(session: Session, **which: Any) -> list[Job]:
    """List jobs; an error of their database says where it is, and the server's own reason."""
    try:
        return (await list_jobs(session.services, session.caller, **which)).jobs
    except JobsUnavailable as error:
        settings = session.vault.settings
        raise await explained("jobs", settings.jobs_url, settings.database_timeout, error) from error


@command(jobs_group, "cdv jobs run", "cdv jobs run --json", name="run")
async def run_jobs(session: Session) -> None:
    """Run pending jobs now, for a vault without a running server."""
    console = Console(stderr=True, quiet=session.as_json or not sys.stderr.isatty())
    with console.status("looking for pending jobs") as status:
        ended = [
            job
            async for job in work_off(
                session.services,
                session.tenant,
                watch=lambda work, step: status.update(f"{work.workflow} {work.id}: {step}"),
            )
        ]
    answer = [EndedJob.from_object(job.work, goes_on_in=job.seconds, code=job.code) for job in ended]
    session.show(answer, *map(_end_of, ended), counted(len(ended), "job") if ended else "no pending jobs")
    if any(job.code is not None for job in ended):
        raise typer.Exit(FAILED)


def _show_jobs(session: Session, jobs: list[Job], then: str | None = None) -> None:
    headings = ("job", "id", "run", "state", "step", "attempts", "since", "goes on", "because of")
    rows = (
        (job.workflow, job.id, job.run, job.state, job.step, job.attempts, job.since, job.next_at, job.code)
        for job in jobs
    )
    session.show_table(jobs, headings, rows, empty="no unfinished jobs", then=then)


def _end_of(job: Ended) -> str:
    name = f"{job.work.workflow} {job.work.id}"
    if job.code is not None:
        return f"{name} failed: {job.code}"
    if job.seconds is not None:
        return f"{name} goes on in {job.seconds:,.0f} seconds at the earliest"
    return f"{name} is done"
