"""``cdv consent``: what people say about their data, and what holds of it. It shows words of nobody's.

``cdv consent expire``: complete the ledger with the consents that have ended by themselves.

``cdv consent restrict``, ``announce`` and ``lift``: a person's data is stored and not used (Art. 18 GDPR).

``cdv consent verify``: is what lies on people's rows what the ledger says?

``cdv consent receipt``: proof of what a person said, to hand to them.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from uuid import UUID

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group, parse_expiry, parse_since
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant
from vault.clock import Clock
from vault.ids import SubjectId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vault.consent.query import CheckAnswer, ConsentOverview, Told
    from vault.consent.transaction import Recorded
    from vault.context import Services
    from vault.ids import TenantId
    from vault.letters.about_requests import Announced


SUBJECT = "0199aabb-0000-7000-8000-000000000001"

app = make_group(
    "Consents, objections and restrictions: record, show, check, compare with the ledger.",
    f"cdv consent show {SUBJECT}",
    f"cdv consent record {SUBJECT} --purpose direct-marketing --decision withdrawn",
    "cdv consent verify",
)


class Decision(StrEnum):
    """What a person says."""

    given = "given"
    refused = "refused"
    withdrawn = "withdrawn"
    renewed = "renewed"


class By(StrEnum):
    """Who says it."""

    subject = "subject"
    guardian = "guardian"
    staff = "staff"


class Verdict(StrEnum):
    """How an objection is decided."""

    upheld = "upheld"
    overruled = "overruled"


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]
Purpose = Annotated[str, typer.Option("--purpose", metavar="NAME", help="A purpose of purposes.toml.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, in one line; sealed.")]


def register(root: typer.Typer) -> None:
    """Add the group."""
    app.command(epilog=examples("cdv consent verify", "cdv consent verify --repair"))(verify)
    app.command(epilog=examples("cdv consent expire"))(expire)
    register_consent_restrict(app)
    root.add_typer(app, name="consent")


@app.command(
    epilog=examples(
        f"cdv consent record {SUBJECT} --purpose direct-marketing --decision given --notice marketing@3 "
        "--method form --evidence 'form 4711, folder 12'",
        f"cdv consent record {SUBJECT} --purpose direct-marketing --decision withdrawn --channel phone",
    )
)
def record(
    subject: Subject,
    purpose: Purpose,
    decision: Annotated[Decision, typer.Option("--decision", help="What the person says.")],
    notice: Annotated[
        str | None, typer.Option("--notice", metavar="NAME@N", help="The text that was seen; needed for a yes.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", metavar="TAG", help="In which language.")] = None,
    method: Annotated[
        str | None, typer.Option("--method", metavar="WORD", help="How: form, oral, signature …; needed for a yes.")
    ] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Where: store, phone …")] = None,
    by: Annotated[By, typer.Option("--by", help="Who says it.")] = By.subject,
    evidence: Annotated[
        str | None, typer.Option("--evidence", metavar="TEXT", help="Where the proof lies, in one line; sealed.")
    ] = None,
    jurisdiction: Annotated[
        str | None, typer.Option("--jurisdiction", metavar="CODE", help="Whose law applies, such as IE.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="WHEN", help="When it was said: 3d ago, a day, a moment.", show_default="now"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="When a yes ends by itself: in 90d, a day, a moment.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Record what a person says of a purpose that rests on consent: as a form or a call brought it in."""
    occurred_at = parse_since(at, Clock().now(), option="--at")
    valid_until = parse_expiry(until, Clock().now(), option="--until")

    async def work(services: Services, its: TenantId) -> Recorded:
        from vault.access.callers import operator_caller
        from vault.consent.record import record_consent
        from vault.consent.validation import Said
        from vault.ids import SubjectId

        said = Said(
            purpose=purpose,
            decision=decision.value,
            notice=notice,
            language=language,
            channel=channel,
            method=method,
            by=by.value,
            evidence=evidence,
            jurisdiction=jurisdiction,
            occurred_at=occurred_at,
            valid_until=valid_until,
        )
        return await record_consent(services, operator_caller(its), SubjectId(subject), said)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


@app.command(epilog=examples(f"cdv consent show {SUBJECT}"))
def show(subject: Subject, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Show how a person stands on each purpose, and the latest events; evidence stays sealed."""

    async def work(services: Services, its: TenantId) -> ConsentOverview:
        from vault.access.callers import operator_caller
        from vault.consent.query import consent_state
        from vault.ids import SubjectId

        return await consent_state(services, operator_caller(its), SubjectId(subject))

    found = in_tenant(vault, tenant, work)
    if as_json:
        consents = {name: each._asdict() for name, each in found.consents.items()}
        history = [_event(each) for each in found.history]
        emit({"subject": found.subject, "state": found.state, "consents": consents, "history": history})
        return
    rows = [
        (name, each.state, each.since, each.notice, "ask anew" if each.renew else "", each.objection)
        for name, each in sorted(found.consents.items())
    ]
    show_table(("purpose", "consent", "since", "notice", "", "objection"), rows, empty="no purpose rests on consent")
    events = [(told.event.occurred_at, told.event.kind, told.event.purpose, told.event.by) for told in found.history]
    show_table(("said", "event", "purpose", "by"), events, empty="nothing was ever said")
    note(f"The person's data is {found.state}.")


@app.command(epilog=examples(f"cdv consent check --purpose direct-marketing {SUBJECT}"))
def check(
    subject: Annotated[list[UUID], typer.Argument(metavar="SUBJECT...", help="Ids of people.")],
    purpose: Annotated[list[str], typer.Option("--purpose", metavar="NAME", help="A purpose; may be repeated.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Say for each person whether purposes may go on now; exit status 1 where one may not."""

    async def work(services: Services, its: TenantId) -> CheckAnswer:
        from vault.access.callers import operator_caller
        from vault.consent.query import check_consents
        from vault.ids import SubjectId

        people = [SubjectId(each) for each in subject]
        return await check_consents(services, operator_caller(its), subjects=people, purposes=purpose)

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([{"subject": one, "purposes": purposes} for one, purposes in found.results])
    else:
        rows = [(one, name, "yes" if may else "no") for one, told in found.results for name, may in told.items()]
        show_table(("subject", "purpose", "may"), rows, empty="nobody was asked about")
    if not all(may for _one, told in found.results for may in told.values()):
        raise typer.Exit(1)


@app.command("object", epilog=examples(f"cdv consent object {SUBJECT} --purpose fraud-prevention"))
def object_(
    subject: Subject,
    purpose: Purpose,
    reason: Reason = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Record that a person objects to a purpose (Art. 21): use for it stops at once."""

    async def work(services: Services, its: TenantId) -> Recorded:
        from vault.access.callers import operator_caller
        from vault.consent.objections import record_objection
        from vault.ids import SubjectId

        return await record_objection(
            services, operator_caller(its), SubjectId(subject), purpose=purpose, reason=reason
        )

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


@app.command(
    epilog=examples(f"cdv consent decide {SUBJECT} {SUBJECT} --as overruled --reason 'fraud case 17, compelling'")
)
def decide(
    subject: Subject,
    event: Annotated[UUID, typer.Argument(metavar="EVENT", help="The objection's id.")],
    verdict: Annotated[Verdict, typer.Option("--as", help="How it is decided.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in one line; sealed.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Decide an objection that is pending."""

    async def work(services: Services, its: TenantId) -> Recorded:
        from vault.access.callers import operator_caller
        from vault.consent.objections import decide_objection
        from vault.ids import SubjectId

        who = operator_caller(its)
        return await decide_objection(services, who, SubjectId(subject), event, decision=verdict.value, reason=reason)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


def _tell(recorded: Recorded, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"id": recorded.id, "state": recorded.state}
        if recorded.confirmation is not None:
            told["confirmation"] = {
                "token": recorded.confirmation.token,
                "expires": recorded.confirmation.expires_at,
            }
        emit(told)
        return
    note(f"Recorded as {recorded.id}: {recorded.state} now.")
    if recorded.confirmation is not None:
        note("The person confirms it by this token, which is shown once:")
        typer.echo(recorded.confirmation.token)


def _event(told: Told) -> dict[str, Any]:
    import msgspec

    return {**msgspec.structs.asdict(told.event), "evidence": None if told.event.evidence is None else "sealed"}


def expire(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Write an event for each consent whose time has run out; reads have heeded its end all along."""
    people, ended = in_tenant(vault, tenant, lambda services, its: _expire(services, its, quiet=as_json))
    if as_json:
        emit({"people": people, "expired": ended})
    else:
        note(f"{people:,} people, {ended:,} consents ended")


async def _expire(services: Services, tenant: TenantId, *, quiet: bool) -> tuple[int, int]:
    from vault.access.callers import operator_caller
    from vault.consent.expiry import expire_lapsed

    people = ended = 0
    with bar("looking", quiet=quiet) as advance:
        async for step in expire_lapsed(services, operator_caller(tenant)):
            people += step.people
            ended += step.ended
            advance(step.people)
    return people, ended


class Ground(StrEnum):
    """Why data is restricted (Art. 18(1))."""

    accuracy = "accuracy"
    unlawful = "unlawful"
    claims = "claims"
    objection = "objection"


def register_consent_restrict(group: typer.Typer) -> None:
    """Add the commands to ``cdv consent``."""
    group.command(epilog=examples(f"cdv consent restrict {SUBJECT} --ground accuracy"))(restrict)
    group.command(
        epilog=examples(f"cdv consent announce {SUBJECT}", f"cdv consent announce {SUBJECT} --told 'letter of 3 May'")
    )(announce)
    group.command(epilog=examples(f"cdv consent lift {SUBJECT} --reason 'address corrected'"))(lift)


def restrict(
    subject: Subject,
    ground: Annotated[Ground, typer.Option("--ground", help="Why (Art. 18(1)(a) to (d)).")],
    reason: Reason = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Restrict a person's data (Art. 18): it is stored and, but for the exceptions, not used."""

    async def work(services: Services, its: TenantId) -> Recorded:
        from vault.access.callers import operator_caller
        from vault.consent.restrictions import restrict as restrict_now
        from vault.ids import SubjectId

        who = operator_caller(its)
        return await restrict_now(services, who, SubjectId(subject), ground=ground.value, reason=reason)

    _tell_consent_restrict(in_tenant(vault, tenant, work), as_json=as_json)


def announce(
    subject: Subject,
    told: Annotated[
        str | None,
        typer.Option("--told", metavar="TEXT", help="How the person was told, if not by a letter from here; sealed."),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Tell the person, by letter, that a restriction will be lifted; it can be some days later (Art. 18(3))."""

    async def work(services: Services, its: TenantId) -> Announced:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.letters.about_requests import announce_lifting

        return await announce_lifting(services, operator_caller(its), SubjectId(subject), told=told)

    announced = in_tenant(vault, tenant, work)
    if as_json:
        emit({"id": announced.id, "state": "restricted", "lift_from": announced.lift_from})
    else:
        note(
            f"Recorded as {announced.id}: the restriction can be lifted from {announced.lift_from:%Y-%m-%d %H:%M} UTC."
        )


def lift(
    subject: Subject,
    reason: Reason = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Lift a restriction, once the person was told and the days of that notice are over (Art. 18(3))."""

    async def work(services: Services, its: TenantId) -> Recorded:
        from vault.access.callers import operator_caller
        from vault.consent.restrictions import lift_restriction
        from vault.ids import SubjectId

        return await lift_restriction(services, operator_caller(its), SubjectId(subject), reason=reason)

    _tell_consent_restrict(in_tenant(vault, tenant, work), as_json=as_json)


def _tell_consent_restrict(recorded: Recorded, *, as_json: bool) -> None:
    if as_json:
        emit({"id": recorded.id, "state": recorded.state})
    else:
        note(f"Recorded as {recorded.id}: {recorded.state} now.")


class _Found(NamedTuple):
    people: int
    wrong: list[SubjectId]
    repaired: int


def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Write on the rows that differ what the ledger says.")
    ] = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Sum up everybody's events anew and compare; exit status 1 where a row says something else."""
    found = in_tenant(vault, tenant, lambda services, its: _verify(services, its, repair=repair, quiet=as_json))
    if as_json:
        emit({"people": found.people, "differences": found.wrong, "repaired": found.repaired})
    else:
        for subject in found.wrong:
            typer.echo(f"{subject}: the row says something else than the ledger")
        note(f"{found.people:,} people, {len(found.wrong):,} of them wrong, {found.repaired:,} repaired")
    if len(found.wrong) > found.repaired:
        raise typer.Exit(1)


async def _verify(services: Services, tenant: TenantId, *, repair: bool, quiet: bool) -> _Found:
    from vault.consent.append import compare, repair_standing

    people, wrong, repaired = 0, [], 0
    with bar("comparing", quiet=quiet) as advance:
        async for step in compare(services, tenant):
            people += step.people
            wrong += [each.subject for each in step.differences]
            advance(step.people)
    if repair and wrong:
        if not quiet:
            note(f"{len(wrong):,} rows differ; they are written anew, as the ledger says.")
        for subject in wrong:
            await repair_standing(services, tenant, subject)
            repaired += 1
    return _Found(people, wrong, repaired)


@contextmanager
def bar(what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Draw how many people were gone through, where a terminal looks on."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(what), MofNCompleteColumn(), TimeElapsedColumn())
    off = quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=off, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda people: progress.advance(task, people)


def register_receipts(_app: typer.Typer) -> None:
    """Add the command to those about consents."""
    app.command(
        "receipt",
        epilog=examples(f"cdv consent receipt {SUBJECT} 0199aabb-0000-7000-8000-000000000002 > receipt.json"),
    )(receipt)


def receipt(
    subject: Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")],
    event: Annotated[UUID, typer.Argument(metavar="EVENT", help="Id of the event, as `cdv consent show` lists it.")],
    form: Annotated[
        Literal["dpv", "kantara"], typer.Option("--format", help="ISO/IEC TS 27560 as JSON-LD, or Kantara 1.1.")
    ] = "dpv",
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
) -> None:
    """Print the signed receipt of an event. It holds no value of the person; `cdv verify` checks it anywhere."""

    async def work(services: Services, its: TenantId) -> dict[str, Any]:
        from vault.access.callers import operator_caller
        from vault.consent.receipts.issue import read_receipt

        return await read_receipt(services, operator_caller(its), SubjectId(subject), event, form=form)

    typer.echo(json.dumps(in_tenant(vault, tenant, work), ensure_ascii=False, indent=2))
