"""``cdv requests``: requests of people about their own data. Their words are read from files, and shown nowhere.

Commands of ``cdv requests`` that decide; what is approved is carried out here and now.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples, make_group, parse_since
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant, in_vault
from vault.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vault.bootstrap import Vault
    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.requests.model import Request as Made
    from vault.requests.query import Listed, Shown
    from vault.requests.submit import Submitted

    Decide = Callable[[Services, Caller], Awaitable[Made]]


REQUEST = "0199aabb-0000-7000-8000-000000000001"
SUBJECT = "0199ccdd-0000-7000-8000-000000000001"
PAGE = 200

app = make_group(
    "Requests of people about their own data: take in, list by urgency, decide, carry out.",
    "cdv requests list",
    f"cdv requests submit access --subject {SUBJECT}",
    f"cdv requests verify {REQUEST} --evidence 'identity card seen at the counter'",
)


class Kind(StrEnum):
    """What is asked for."""

    access = "access"
    portability = "portability"
    rectification = "rectification"
    erasure = "erasure"
    restriction = "restriction"
    objection = "objection"
    withdrawal = "withdrawal"
    review = "review"


class Regime(StrEnum):
    """Whose rules count."""

    gdpr = "gdpr"
    ccpa = "ccpa"


class Due(StrEnum):
    """How urgent."""

    overdue = "overdue"
    soon = "soon"


def register(root: typer.Typer) -> None:
    """Add the group."""
    register_requests_decide(app)
    root.add_typer(app, name="requests")


@app.command(
    epilog=examples(
        f"cdv requests submit access --subject {SUBJECT} --channel letter --received 3d",
        "cdv requests submit erasure --email",
        f"cdv requests submit objection --subject {SUBJECT} --purpose direct-marketing",
        f"cdv requests submit rectification --subject {SUBJECT} --details changes.json",
    )
)
def submit(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What is asked for.")],
    subject: Annotated[UUID | None, typer.Option("--subject", metavar="ID", help="The person's id.")] = None,
    email: Annotated[
        bool, typer.Option("--email", help="Ask for the person's e-mail address, or read it from standard input.")
    ] = False,
    external_id: Annotated[
        list[str] | None, typer.Option("--external-id", metavar="SYSTEM=ID", help="Or their id in another system.")
    ] = None,
    regime: Annotated[Regime, typer.Option("--regime", help="Whose rules and deadlines count.")] = Regime.gdpr,
    jurisdiction: Annotated[
        str | None, typer.Option("--jurisdiction", metavar="CODE", help="Whose public holidays count: DE, DE-BY.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="TAG", help="In which they are answered.")
    ] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Where it came in.")] = None,
    received: Annotated[
        str | None, typer.Option("--received", metavar="WHEN", help="When: 3d ago, a day.", show_default="now")
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", metavar="NAME", help="About this purpose; may be repeated.")
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option("--collection", metavar="NAME", help="About this collection; may be repeated.")
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option("--field", metavar="NAME", help="About this field; may be repeated.")
    ] = None,
    details: Annotated[
        Path | None, typer.Option("--details", metavar="FILE", help="What the person says, as JSON; it is sealed.")
    ] = None,
    follows: Annotated[
        UUID | None, typer.Option("--follows", metavar="ID", help="An earlier request that this takes up again.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Take a request in. It changes nothing before it is verified."""
    received_at = parse_since(received, Clock().now(), option="--received")
    identity = _identity(external_id or [], email=email)
    said = _read_details(details)

    async def work(services: Services, its: TenantId) -> Submitted:
        from vault.access.callers import operator_caller
        from vault.catalogue.model import Scope
        from vault.ids import SubjectId
        from vault.requests.submit import Submission, submit_request

        submission = Submission(
            kind.value,
            regime.value,
            jurisdiction,
            language,
            channel,
            Scope(tuple(field or ()), tuple(collection or ()), tuple(purpose or ())),
            said,
            received_at,
            follows,
        )
        whom = None if subject is None else SubjectId(subject)
        return await submit_request(services, operator_caller(its), submission, subject=whom, identity=identity)

    made = in_tenant(vault, tenant, work)
    if as_json:
        emit(
            {"id": made.id, "state": made.state, "due": str(made.due.on), "due_rule": made.due.rule}
            | {"internal_due": str(made.internal_due.on), "duplicate_of": made.duplicate_of}
        )
        return
    note(f"Due on {made.due.on} ({made.due.rule}); better by {made.internal_due.on}.")
    if made.duplicate_of is not None:
        note(f"The person has asked for the same already: {made.duplicate_of}.")
    typer.echo(made.id)


@app.command("list", epilog=examples("cdv requests list", "cdv requests list --due overdue --json"))
def list_(
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="NAME", help="Only this state; may be repeated.")
    ] = None,
    kind: Annotated[list[Kind] | None, typer.Option("--kind", help="Only this kind; may be repeated.")] = None,
    subject: Annotated[UUID | None, typer.Option("--subject", metavar="ID", help="Only this person's.")] = None,
    due: Annotated[Due | None, typer.Option("--due", help="Only what is overdue, or due within a week.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """List open requests, the most urgent first, with the days that are left."""

    async def work(services: Services, its: TenantId) -> list[Listed]:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.requests.model import OPEN
        from vault.requests.query import list_of_requests

        found: list[Listed] = []
        after = None
        while True:
            page = await list_of_requests(
                services,
                operator_caller(its),
                subject=None if subject is None else SubjectId(subject),
                states=state or (() if every else OPEN),
                kinds=[each.value for each in kind or ()],
                urgency=None if due is None else due.value,
                after=after,
                limit=PAGE,
            )
            found += page.requests
            after = page.next
            if after is None:
                return found

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_told(each.request, each.days_left) for each in found])
        return
    rows = [
        (each.request.id, each.request.kind, each.request.state, each.request.due.on, _left(each), _marks(each))
        for each in found
    ]
    show_table(("request", "kind", "state", "due", "left", ""), rows, empty="no such requests")


@app.command(epilog=examples(f"cdv requests show {REQUEST}"))
def show(
    request: Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request's id.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show a request with its history; what was written about it stays sealed."""

    async def work(services: Services, its: TenantId) -> Shown:
        from vault.access.callers import operator_caller
        from vault.requests.query import show_request

        return await show_request(services, operator_caller(its), request)

    found = in_tenant(vault, tenant, work)
    made, history = found.request, [each.event for each in found.history or ()]
    if as_json:
        import msgspec

        told = [{**msgspec.structs.asdict(each), "note": None if each.note is None else "sealed"} for each in history]
        emit({**_told(made, found.days_left), "history": told})
        return
    about = [
        ("kind", made.kind),
        ("state", made.state),
        ("person", made.subject),
        ("received", made.received_at),
        ("due", f"{made.due.on}, {_left(found) or 'the clock does not run'}"),
        ("by the rule", made.due.rule),
        ("own deadline", made.internal_due.on),
        ("verified", "no" if made.verification is None else f"{made.verification.how}, {made.verification.level}"),
        ("result", made.ground or made.outcome),
        ("package", made.package),
    ]
    show_table(("", ""), [row for row in about if row[1] is not None], empty="")
    events = [(each.at, each.move, each.code, each.after, each.by_name) for each in history]
    show_table(("at", "move", "why", "then", "by"), events, empty="nothing has happened")


def _identity(external_ids: list[str], *, email: bool) -> dict[str, Any] | None:
    if email:
        return {"email": typer.prompt("E-mail address", err=True)}
    if not external_ids:
        return None
    pairs = [each.partition("=") for each in external_ids]
    return {"external_id": {system: value for system, _, value in pairs}}


def _read_details(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = None
    if not isinstance(said, dict):
        raise typer.BadParameter("the file holds no JSON object", param_hint="'--details'")
    return said


def _told(request: Any, days_left: int | None) -> dict[str, Any]:
    """Tell a request as the API does, in what scripts need."""
    return {
        "id": request.id,
        "kind": request.kind,
        "state": request.state,
        "subject": request.subject,
        "received_at": request.received_at,
        "due": str(request.due.on),
        "due_rule": request.due.rule,
        "internal_due": str(request.internal_due.on),
        "days_left": days_left,
        "verified": request.verification is not None,
        "ground": request.ground,
        "outcome": request.outcome,
        "duplicate_of": request.duplicate_of,
        "package": request.package,
        "run": request.run,
    }


def _left(each: Listed | Shown) -> str:
    days = each.days_left
    if days is None:
        return ""
    if days < 0:
        return f"{-days} days overdue"
    return "today" if days == 0 else f"{days} days"


def _marks(each: Listed) -> str:
    request = each.request
    marks = {
        "not verified": request.verification is None,
        "extended": request.extension is not None,
        "asked twice": request.duplicate_of is not None,
        "signed once": request.state == "in_review" and bool(request.approvals),
    }
    return ", ".join(name for name, is_so in marks.items() if is_so)


class Reason(StrEnum):
    """Why it takes longer (Art. 12(3))."""

    complexity = "complexity"
    number = "number"


class Outcome(StrEnum):
    """How a review ended."""

    confirmed = "confirmed"
    changed = "changed"


Request = Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request's id.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why, in one line; sealed.")]
Later = Annotated[bool, typer.Option("--later", help="Leave the job to the server, or to `cdv jobs run`.")]


def register_requests_decide(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(epilog=examples(f"cdv requests verify {REQUEST} --evidence 'identity card seen'"))(verify)
    app.command(epilog=examples(f"cdv requests approve {REQUEST}"))(approve)
    app.command(epilog=examples(f"cdv requests reject {REQUEST} --ground legal-obligation --note 'see § 147 AO'"))(
        reject
    )
    app.command(epilog=examples(f"cdv requests extend {REQUEST} --reason complexity"))(extend)
    app.command("ask-identity", epilog=examples(f"cdv requests ask-identity {REQUEST}"))(ask_identity)
    app.command(epilog=examples(f"cdv requests complete {REQUEST} --outcome changed"))(complete)
    app.command(epilog=examples(f"cdv requests cancel {REQUEST}"))(cancel)
    app.command(epilog=examples(f"cdv requests reopen {REQUEST}"))(reopen)
    app.command(epilog=examples("cdv requests expire"))(expire)


def verify(
    request: Request,
    evidence: Annotated[str, typer.Option("--evidence", metavar="TEXT", help="What was seen, in one line; sealed.")],
    later: Later = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Note that you have made sure that it is the person; what the rules approve by themselves is carried out."""

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.identity.verify import note_evidence

        return await note_evidence(services, caller, request, evidence)

    _decide(vault, tenant, decided, later=later, as_json=as_json)


def approve(
    request: Request,
    note: Note = None,
    later: Later = False,
    yes: Yes = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Approve a verified request and carry it out; where four eyes are needed, this is one pair of them."""
    if not yes:
        typer.confirm("Carry the request out? An erasure cannot be taken back.", abort=True, err=True)

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.requests.decide import approve_request

        return await approve_request(services, caller, request, note=note)

    _decide(vault, tenant, decided, later=later, as_json=as_json)


def reject(
    request: Request,
    ground: Annotated[str, typer.Option("--ground", metavar="CODE", help="One that the law gives; see the docs.")],
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Refuse a request; the person is told the ground and the remedies."""

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.requests.decide import reject_request

        return await reject_request(services, caller, request, ground=ground, note=note)

    _decide(vault, tenant, decided, letter="tell-rejected", as_json=as_json)


def extend(
    request: Request,
    reason: Annotated[Reason, typer.Option("--reason", help="Why it takes longer.")],
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Extend the deadline, once and before it has passed; the person is told."""

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.requests.decide import extend_request

        return await extend_request(services, caller, request, reason=reason.value, note=note)

    _decide(vault, tenant, decided, letter="tell-extended", as_json=as_json)


def ask_identity(
    request: Request,
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Ask who it is, where that is in doubt; asked promptly, it stops the clock."""

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.requests.decide import ask_identity as ask

        return await ask(services, caller, request, note=note)

    _decide(vault, tenant, decided, letter="tell-identity", as_json=as_json)


def complete(
    request: Request,
    outcome: Annotated[Outcome, typer.Option("--outcome", help="How the review ended.")],
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Complete a review of an automated decision."""

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.requests.decide import complete_request

        return await complete_request(services, caller, request, outcome=outcome.value, note=note)

    _decide(vault, tenant, decided, letter="tell-completed", as_json=as_json)


def cancel(
    request: Request,
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Cancel a request that is not under way."""

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.requests.decide import cancel_request

        return await cancel_request(services, caller, request, note=note)

    _decide(vault, tenant, decided, as_json=as_json)


def reopen(
    request: Request,
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Reopen a closed request: unverified again, with its history and the deadline of its receipt."""

    async def decided(services: Services, caller: Caller) -> Made:
        from vault.requests.decide import reopen_request

        return await reopen_request(services, caller, request, note=note)

    _decide(vault, tenant, decided, as_json=as_json)


def expire(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Expire requests that have waited unverified for too long, of all tenants; a server does it by itself."""

    async def work(opened: Vault) -> int:
        from vault.requests.execution import expire_requests

        return await expire_requests(opened.services)

    expired = in_vault(vault, work)
    if as_json:
        emit({"expired": expired})
    else:
        note(f"{expired:,} requests expired")


def _decide(
    vault: Path, tenant: str, decided: Decide, *, letter: str | None = None, later: bool = False, as_json: bool
) -> None:
    """Decide, carry out what is approved by that, send the letter, and say how things stand."""

    async def work(services: Services, its: TenantId) -> tuple[Made, float | None]:
        from vault.access.callers import operator_caller
        from vault.workflows import REQUEST_WORKFLOWS

        made = await decided(services, operator_caller(its))
        job = made.kind if made.state == "approved" and not later else letter
        if job is None:
            return made, None
        waits = await services.jobs.run_in_foreground(
            services, REQUEST_WORKFLOWS[job], its, made.id, watch=_watch(quiet=as_json)
        )
        return await _now(services, its, made), waits

    made, waits = in_tenant(vault, tenant, work)
    if as_json:
        emit({"id": made.id, "state": made.state, "due": str(made.due.on), "waits": waits})
        return
    note(f"The request is {made.state.replace('_', ' ')}; due on {made.due.on}.")
    if waits is not None:
        note("Its job waits for something; the server goes on with it, or `cdv jobs run`.")


async def _now(services: Services, tenant: TenantId, made: Made) -> Made:
    from vault.requests.store import find_request

    async with services.data.reading() as connection:
        kept = await find_request(connection, tenant, made.id)
    return made if kept is None else kept.request


def _watch(*, quiet: bool) -> Callable[[str], None] | None:
    def tell(step: str) -> Any:
        note(f"  {step} …")

    return None if quiet else tell
