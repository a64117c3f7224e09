"""``cdv policy``: check and apply policy folders, and explain their decisions. ``cdv notices``: the privacy notices."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vault.bootstrap import apply_folders, policy_folder, read_settings, shipped_policies
from vault.catalogue.notices import compare
from vault.catalogue.toml_document import did_you_mean
from vault.cli.command import (
    DEFAULT,
    HERE,
    Json,
    Opener,
    Session,
    Tenant,
    VaultFolder,
    command,
    known_tenant,
    make_group,
    run,
)
from vault.cli.output import FAILED, emit, note, warn
from vault.consent.expiry import ask_again
from vault.errors import InvalidInput, Misconfigured, NotFound, PolicyInvalid, VaultError
from vault.governance.policy_difference import PolicyDifference, changed_lines, difference
from vault.governance.query import notice_list
from vault.governance.tenants import apply_policies, rebuild_indexes
from vault.governance.views import AppliedPolicies, FieldIndex, PolicyChange, PolicyCheck, PolicyFinding
from vault.ids import TenantId
from vault.policy.contacts import roles_reaching_everything
from vault.policy.decision import Decisions
from vault.policy.example import example_left
from vault.policy.lint import idle_rules, unknown_files
from vault.policy.policy_set import PolicySet
from vault.records.read import explain as explain_fields
from vault.records.read import explain_rules
from vault.subjects.index_builds import indexes_of, list_builds
from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vault.catalogue.notices import Changes, Notice, Piece
    from vault.catalogue.toml_document import Finding
    from vault.context import Services

group = make_group(
    "cdv policy check policies",
    "cdv policy apply --vault my-vault",
    "cdv policy explain --role support --purpose customer-support email email.masked",
)


Policies = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A policy folder to use instead of the policies in force.")
]


@command(group, "cdv policy check policies")
def check(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A policy folder.", show_default="the vault's, or ./policies")
    ] = None,
    policies: Policies = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for warnings too.")] = False,
    as_json: Json = False,
) -> None:
    """Check a policy folder; lists mistakes with file, line and remedy. Exit status 1 if there are any.

    It warns of rules that open nothing and of files that are not read. The vault's own folder is compared with its
    notices in force as well.
    """
    if folder is not None and policies is not None:
        raise typer.BadParameter("name the folder once: by --policies or by itself")
    named = policies or folder
    checked = _default_folder(vault, tenant) if named is None else _within(named)
    unread = unknown_files(checked)
    try:
        policy_set = PolicySet.from_folder(checked)
        _compare_with_vault(vault, tenant, checked, policy_set)
    except PolicyInvalid as error:
        _show_findings(checked, error, unread, as_json=as_json)
        raise typer.Exit(FAILED) from None
    writers = roles_reaching_everything(policy_set, tenant)
    left = example_left(policy_set, shipped_policies())
    warnings = [*unread, *idle_rules(policy_set, tenant), *([left] if left else [])]
    if as_json:
        version, shown = policy_set.version, _views(warnings)
        emit(PolicyCheck(version=version, findings=[], warnings=shown, reach_everything=writers))
    else:
        note(f"{checked}: no mistakes. {_counts(policy_set)}")
        note(f"version {policy_set.version}")
        _show_warnings(checked, warnings)
        if writers:
            names = ", ".join(writers)
            warn(f"can reach everything, because they may write an e-mail address or merge people: {names}")
    if strict and warnings:
        raise typer.Exit(FAILED)


@command(group, "cdv policy apply --vault my-vault", "cdv policy apply --tenant brand-two")
def apply(
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    everyone: Annotated[bool, typer.Option("--all", help="Apply the folders of all tenants.")] = False,
    as_json: Json = False,
) -> None:
    """Apply the policies in the vault's folder; all nodes use them within seconds, without a restart."""
    applied = run(_apply(Opener(vault), None if everyone else tenant))
    if as_json:
        emit(applied)
        return
    for policies in applied:
        note(f"{policies.tenant}: {'in force now' if policies.changed else 'in force already'}: {policies.version}")
        for name, left in policies.not_covered.items():
            warn(
                f"{name} does not lead to {counted(left, 'person', 'people')} yet, so that searches by it are refused; "
                "a running server, or `cdv jobs run`, builds it"
            )


@command(group, "cdv policy history --vault my-vault")
async def history(session: Session) -> None:
    """List the applied policy versions, the latest first."""
    changes = [
        PolicyChange(version=change.version, applied_at=change.applied_at, by=change.applied_by)
        for change in await session.services.policies.history(session.tenant)
    ]
    rows = (
        (change.applied_at, change.by, change.version, "in force" if number == 0 else "")
        for number, change in enumerate(changes)
    )
    session.show_table(changes, ("applied", "by", "version", ""), rows, empty="no policies were applied yet")


Version = Annotated[
    str,
    typer.Argument(metavar="VERSION", help="`previous`, or the start of a hash of `cdv policy history`."),
]


@command(group, "cdv policy diff", "cdv policy diff previous", "cdv policy diff 3f2a91 --text", name="diff")
async def compare_versions(
    session: Session,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]", help="A version to compare those in force with.", show_default="the folder"
        ),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Show the changed lines of the files.")] = False,
) -> None:
    """Show what the vault's folder would change: who may read what, fields, purposes, rules.

    With VERSION, what has changed since that version.
    """
    services, tenant = session.services, session.tenant
    active = services.policies.active(tenant).policy_set
    if version is None:
        before, after = active, PolicySet.from_folder(policy_folder(session.vault.settings, tenant))
    else:
        before, after = await _version(session, version), active
    if text:
        for line in changed_lines(before, after):
            typer.echo(line)
        return
    found = await asyncio.to_thread(difference, before, after, tenant, services.clock.now().date())
    if session.as_json:
        emit(found)
    else:
        _show_difference(found)


@command(group, "cdv policy show previous --to old-policies", name="show")
async def show_version(
    session: Session,
    version: Version,
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the files.")],
) -> None:
    """Write the files of an applied version into a new folder."""
    policy_set = await _version(session, version)
    _write(policy_set, to)
    if session.as_json:
        emit({"version": policy_set.version, "folder": to, "files": sorted(policy_set.files)})
    else:
        note(f"{to}: {policy_set.version}")


@command(
    group,
    "cdv policy rollback previous",
    name="rollback",
    confirm="Put the earlier policies into force, and into the vault's folder?",
)
async def roll_back(session: Session, version: Version) -> None:
    """Put an applied version into force again. It becomes the vault's folder; the present folder is kept next to it."""
    policy_set = await _version(session, version)
    folder = policy_folder(session.vault.settings, session.tenant)
    kept = _free(folder.with_name(f"{folder.name}-before-rollback"))
    new = _free(folder.with_name(f"{folder.name}-new"))
    _write(policy_set, new)
    # The folder first: a server that starts applies it. If the process ends between the two, `apply` completes it.
    if folder.exists():
        folder.rename(kept)
    new.rename(folder)
    changed = await apply_policies(session.services, session.tenant, policy_set)
    if session.as_json:
        emit({"version": policy_set.version, "changed": changed, "kept": kept if kept.exists() else None})
        return
    note(f"{session.tenant}: {'in force now' if changed else 'in force already'}: {policy_set.version}")
    if kept.exists():
        note(f"the folder as it was: {kept}")


async def _version(session: Session, name: str) -> PolicySet:
    """Find an applied version by the start of its hash.

    Raises:
        NotFound: there is none, or it does not load any more.
        InvalidInput: there are several.
    """
    policies = session.services.policies
    versions = list(dict.fromkeys(change.version for change in await policies.history(session.tenant, most=1000)))
    active = policies.active(session.tenant).version
    if name == "previous":
        found = [version for version in versions if version != active][:1]
    else:
        found = [
            version for version in versions if version.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
        ]
    if not found:
        raise NotFound("no such version was applied", hint="`cdv policy history` lists them")
    if len(found) > 1:
        raise InvalidInput("several versions begin like that", hint="write more of the hash")
    policy_set = await policies.at(session.tenant, found[0])
    if policy_set.version != found[0]:
        raise NotFound("this program does not load that version any more", hint="its files are in older backups")
    return policy_set


def _free(path: Path) -> Path:
    """Return the path, or one with a number after it if there is something."""
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}-{number + 1}")
    return free


def _write(policy_set: PolicySet, folder: Path) -> None:
    """Write the files of policies into a new folder.

    Raises:
        Misconfigured: the folder exists, or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
        for name, text in policy_set.files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        reason = (
            "exists already" if isinstance(error, FileExistsError) else f"cannot be written ({type(error).__name__})"
        )
        raise Misconfigured(f"the folder {reason}", hint="name a folder that does not exist yet") from None


def _show_difference(found: PolicyDifference) -> None:
    for sign, colour, changes in (("+", typer.colors.YELLOW, found.opened), ("-", typer.colors.GREEN, found.closed)):
        for change in changes:
            verb = "may read" if sign == "+" else "may no longer read"
            typer.secho(f"{sign} {change.role} {verb} for {change.purpose}:", fg=colour, bold=True)
            for field in change.fields:
                typer.echo(f"    {field.removeprefix('profile.')}")
    for what, names in (("field", found.fields), ("purpose", found.purposes)):
        for sign, some in (("+", names.added), ("-", names.removed), ("~", names.changed)):
            for name in some:
                typer.echo(f"{sign} {what} {name}")
    for sign, rules in (("+", found.rules_added), ("-", found.rules_removed)):
        for rule in rules:
            typer.echo(f"{sign} rule {rule}")
    others = [*found.files.added, *found.files.removed, *found.files.changed]
    if others:
        note(f"files: {', '.join(sorted(others))}. --text shows the lines.")
    else:
        note("no difference")


def _default_folder(vault: Path, tenant: str) -> Path:
    """Return the default folder: the vault's policies, or else ./policies."""
    try:
        return policy_folder(read_settings(vault), tenant)
    except Misconfigured:
        if (Path() / "policies").is_dir():
            return Path("policies")
        raise


def _within(folder: Path) -> Path:
    """Return the policies within a vault's folder or a checkout, or else the folder itself."""
    inner = folder / "policies"
    return inner if inner.is_dir() and not (folder / "catalogue.toml").exists() else folder


def _compare_with_vault(vault: Path, tenant: str, checked: Path, policy_set: PolicySet) -> None:
    """Compare the vault's own folder with its notices in force, as applying it would.

    Raises:
        PolicyInvalid: a notice that is in use has changed.
    """
    try:
        if policy_folder(read_settings(vault), tenant).resolve() != checked.resolve():
            return
    except Misconfigured:
        return  # no vault: there is nothing to compare with
    try:
        run(_check_notices(Opener(vault, tenant), policy_set))
    except PolicyInvalid:
        raise
    except VaultError as error:
        warn(f"the notices are not compared with those in force: {error.detail}")


async def _check_notices(opener: Opener, policy_set: PolicySet) -> None:
    async with opener.session() as session:
        await session.services.policies.check_notices(session.tenant, policy_set)


def _show_findings(folder: Path, error: PolicyInvalid, unread: list[Finding], *, as_json: bool) -> None:
    findings = _views(error.findings)
    if as_json:
        emit(PolicyCheck(version=None, findings=findings, warnings=_views(unread), reach_everything=[]))
        return
    for finding in findings:
        typer.echo(f"{folder / finding.file}:{finding.line}: {finding.message}")
        typer.echo(f"    remedy: {finding.remedy}")
    _show_warnings(folder, unread)
    typer.echo(f"error: {error.detail}", err=True)


def _show_warnings(folder: Path, warnings: Iterable[Finding]) -> None:
    for found in warnings:
        warn(f"{folder / found.file}:{found.line}: {found.message}\n    remedy: {found.remedy}")


def _views(findings: Iterable[object]) -> list[PolicyFinding]:
    return [PolicyFinding.model_validate(finding) for finding in findings]


def _counts(policy_set: PolicySet) -> str:
    fields = sum(1 for _ in policy_set.catalogue.fields())
    purposes, rules = len(policy_set.purposes), len(policy_set.rules.rules)
    return f"{counted(fields, 'field')}, {counted(purposes, 'purpose')}, {counted(rules, 'rule')}."


def _warn_of_example(policy_set: PolicySet) -> None:
    left = example_left(policy_set, shipped_policies())
    if left is not None:
        warn(f"{left.file}:{left.line}: {left.message}")


async def _apply(opener: Opener, tenant: str | None) -> list[AppliedPolicies]:
    async with opener.vault() as session:
        services = session.services
        if tenant is None:
            changes = await apply_folders(session.vault)
            for name in changes:
                _warn_of_example(services.policies.active(name).policy_set)
            return [await _applied(services, TenantId(name), changed=changes[name]) for name in sorted(changes)]
        known = await known_tenant(services, tenant)
        policy_set = PolicySet.from_folder(policy_folder(session.vault.settings, known))
        _warn_of_example(policy_set)
        return [await _applied(services, known, changed=await apply_policies(services, known, policy_set))]


async def _applied(services: Services, tenant: TenantId, *, changed: bool) -> AppliedPolicies:
    async with services.data.reading() as connection:
        left = {build.name: build.left for build in await list_builds(connection, tenant)}
    version = services.policies.active(tenant).version
    return AppliedPolicies(tenant=tenant, version=version, changed=changed, not_covered=left)


@command(group, "cdv policy indexes", "cdv policy indexes --rebuild email")
async def indexes(
    session: Session,
    rebuild: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Build all indexes of a field again, such as email.")
    ] = None,
) -> None:
    """List the indexes of the catalogue, and whether they lead to all people.

    An index over values from before it was declared is built by a running server, or by `cdv jobs run`.
    """
    services, tenant = session.services, session.tenant
    if rebuild is not None:
        names = await rebuild_indexes(services, tenant, rebuild)
        note(f"to be built again, by a running server or `cdv jobs run`: {', '.join(names)}")
    async with services.data.reading() as connection:
        builds = {build.name: build for build in await list_builds(connection, tenant)}
    answer = [
        FieldIndex(name=name, state="building", people=builds[name].people, total=builds[name].total)
        if name in builds
        else FieldIndex(name=name, state="complete")
        for name in indexes_of(services.policies.active(tenant).policy_set.catalogue)
    ]
    rows = (
        (index.name, index.state, "" if index.total is None else f"{index.people:,} of {index.total:,} people")
        for index in answer
    )
    session.show_table(answer, ("index", "state", "covered"), rows, empty="the catalogue declares no index")


@command(
    group,
    "cdv policy explain --role support --purpose customer-support email email.masked",
    "cdv policy explain --policies policies --role marketing --purpose direct-marketing email",
)
async def explain(
    opener: Opener,
    field: Annotated[list[str], typer.Argument(metavar="FIELD...", help="Fields and views, such as email.masked.")],
    role: Annotated[list[str], typer.Option(metavar="ROLE", help="Role of the caller; may be repeated.")],
    purpose: Annotated[str, typer.Option(metavar="PURPOSE", help="The purpose.")],
    action: Annotated[Literal["read", "write", "search"], typer.Option(help="The action.")] = "read",
    policies: Policies = None,
) -> None:
    """Explain whether fields may be read for a purpose: the step and rule that decide, and the remedy."""
    roles, fields = tuple(sorted(set(role))), tuple(dict.fromkeys(field))
    if policies is None:
        async with opener.session() as session:
            _check_names(session.services.policies.active(session.tenant).policy_set, roles, purpose, fields)
            # The operation of the API: it is audited.
            explanation = await explain_fields(
                session.services, session.caller, fields=fields, purpose=purpose, action=action, roles=roles
            )
        decisions, version = explanation.fields, explanation.policy_version
    else:
        policy_set = PolicySet.from_folder(_within(policies))
        _check_names(policy_set, roles, purpose, fields)
        decision = Decisions(policy_set, opener.tenant).decide_now(roles, purpose, fields, action)
        decisions, version = explain_rules(decision), policy_set.version
    if opener.as_json:
        emit({"fields": decisions, "policy_version": version})
        return
    for name, verdict in decisions.items():
        colour = typer.colors.GREEN if verdict.allowed else typer.colors.RED
        word = typer.style("allowed" if verdict.allowed else "denied", fg=colour, bold=True)
        typer.echo(f"{name}: {word} at step {verdict.step} ({verdict.code})")
        typer.echo(f"    {verdict.detail}")
        typer.echo(f"    rule: {verdict.rule}")


def _check_names(policy_set: PolicySet, roles: Sequence[str], purpose: str, fields: Sequence[str]) -> None:
    """Check the names, and suggest similar ones; the operator may see all of them."""
    purposes, catalogue, known_roles = policy_set.purposes, policy_set.catalogue, policy_set.rules.roles
    if purpose not in purposes:
        names = f"the purposes are {', '.join(sorted(purposes))}"
        raise InvalidInput("there is no such purpose", hint=did_you_mean(purpose, purposes, names))
    for number, name in enumerate(fields, start=1):
        if name not in catalogue:
            known = [view.name.removeprefix("profile.").removesuffix(".clear") for view in catalogue.views()]
            hint = did_you_mean(name, known, "catalogue.toml declares the fields and their views")
            raise InvalidInput(f"number {number} of the fields does not exist", hint=hint)
    if not known_roles.issuperset(roles):
        warn(f"some roles are not in the policies, which have: {', '.join(sorted(known_roles))}")


notices_group = make_group(
    "cdv notices list --vault my-vault",
    "cdv notices show marketing@3 --language de",
    "cdv notices diff marketing@3 marketing@4 --policies policies",
)

Language = Annotated[str | None, typer.Option(metavar="LANG", help="Such as de.", show_default="the notice's main one")]


@command(notices_group, "cdv notices list --vault my-vault", name="list")
async def list_notices(session: Session) -> None:
    """List the notices of the policies in force, and the purposes for which a consent to them counts."""
    notices = notice_list(session.services, session.services.policies.active(session.tenant)).notices
    answer = [
        {
            "notice": name,
            **version.as_json(),
            "languages": {key: text.digest for key, text in version.languages.items()},
        }
        for name, version in notices.items()
    ]
    rows = (
        (
            name,
            "yes" if version.in_force else f"from {version.valid_from}",
            "yes" if version.material else "no",
            ", ".join(version.languages),
            ", ".join(version.good_for) or "-",
        )
        for name, version in notices.items()
    )
    headings = ("notice", "in force", "material", "languages", "good for")
    session.show_table(answer, headings, rows, empty="there are no notices")


@command(notices_group, "cdv notices show marketing@3", "cdv notices show marketing@3 --language de")
async def show(
    session: Session,
    notice: Annotated[str, typer.Argument(metavar="NOTICE", help="A version such as marketing@3, or a hash.")],
    language: Language = None,
) -> None:
    """Show the text of a notice, also of one that is no longer in the policies."""
    policies = session.services.policies.active(session.tenant).policy_set
    parsed, file = await _find(session, policies, notice, language)
    if session.as_json:
        emit({**_reference(parsed), "text": file})
    else:
        typer.echo(file, nl=not file.endswith("\n"))


@command(
    notices_group,
    "cdv notices diff marketing@2 marketing@3",
    "cdv notices diff marketing@3 marketing@4 --policies policies",
)
async def diff(
    session: Session,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version such as marketing@2.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another version, such as marketing@3.")],
    policies: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A policy folder with NEW that is not in force yet.")
    ] = None,
    language: Language = None,
) -> None:
    """Show the changes between two versions, word by word, and how many people must be asked again."""
    services = session.services
    active = services.policies.active(session.tenant).policy_set
    policy_set = active if policies is None else PolicySet.from_folder(policies)
    old_notice, _ = await _find(session, active, old, language)
    new_notice, _ = await _find(session, policy_set, new, language)
    changes, today = compare(old_notice, new_notice), services.clock.now().date()
    since = max(today, new_notice.valid_from or today)
    again = await ask_again(services, session.tenant, new_notice.name, policy_set, since)
    if session.as_json:
        emit(
            {
                "old": _reference(old_notice),
                "new": _reference(new_notice),
                "front": changes.front,
                "paragraphs": [[piece._asdict() for piece in paragraph] for paragraph in changes.paragraphs],
                "from": since,
                "ask_again": [{**asdict(purpose), "total": purpose.total} for purpose in again],
            }
        )
        return
    _show_changes(old_notice, new_notice, changes)
    for purpose in again:
        typer.secho(f"{purpose.purpose}, from {since}: {purpose.total} to ask again", bold=True)
        for notice, count in purpose.people.items():
            typer.echo(f"    {count} agreed to {notice}")
        typer.echo(f"    accepted from then on: {', '.join(purpose.accepted) or 'no version'}")
    if not again:
        typer.echo(f"No purpose uses {new_notice.name}.")


async def _find(session: Session, policies: PolicySet, name: str, language: str | None) -> tuple[Notice, str]:
    """Find a text in a policy folder, or else among those that were ever in force; also return the whole file.

    Raises:
        NotFound: there is no such version, or not in that language.
    """
    notices, stored = policies.notices, session.services.policies
    languages = notices.languages(name)  # the first is the main one
    notice = notices.by_digest(name) or next((text for tag, text in languages.items() if language in {None, tag}), None)
    if notice is not None:
        return notice, policies.files[notice.file]
    by_digest = await stored.notice_text(session.tenant, name)
    texts = await stored.notice_texts(session.tenant, name) if by_digest is None else [by_digest]
    for text in texts:
        parsed = text.parsed()
        if parsed is not None and language in {None, text.language}:
            return parsed, text.body.decode()
    if texts or name in notices:
        raise NotFound("the notice has no translation in that language", hint="`cdv notices list` names the languages")
    raise NotFound("there is no such notice", hint=did_you_mean(name, notices, "`cdv notices list` names them"))


def _reference(notice: Notice) -> dict[str, object]:
    return {"notice": notice.id, "language": notice.language, "digest": notice.digest, "material": notice.material}


def _show_changes(old: Notice, new: Notice, changes: Changes) -> None:
    typer.secho(f"{old.id} ({old.language}) -> {new.id} ({new.language})", bold=True)
    for key, (before, after) in changes.front.items():
        typer.echo(f"{key}: {_removed(_value(before))} {_added(_value(after))}")
    for paragraph in changes.paragraphs:
        typer.echo()
        typer.echo(" ".join(_piece(piece) for piece in paragraph))
    if not changes.front and not changes.paragraphs:
        note("The two texts are the same.")
    typer.echo()
    effect = (
        "is material: consent must be asked for again" if new.material else "is not material: no one is asked again"
    )
    typer.echo(f"{new.id} {effect}.")


def _piece(piece: Piece) -> str:
    if piece.kind == "same":
        return piece.text
    return _removed(piece.text) if piece.kind == "out" else _added(piece.text)


def _removed(text: str) -> str:
    return typer.style(f"[-{text}-]", fg=typer.colors.RED)


def _added(text: str) -> str:
    return typer.style(f"{{+{text}+}}", fg=typer.colors.GREEN)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, tuple) else str(value if value is not None else "none")
