"""``cdv notices``: the texts that people agree to, what changed in them, and who must be asked again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vault.catalogue.notices import compare
from vault.catalogue.toml_document import did_you_mean
from vault.cli.command import command, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.consent.expiry import ask_again
from vault.errors import NotFound
from vault.governance.policies import versions_of
from vault.policy.policy_set import PolicySet

if TYPE_CHECKING:
    from datetime import date

    from vault.catalogue.notices import Changes, Notice, Piece
    from vault.consent.expiry import AskAgain
    from vault.context import Services
    from vault.governance.policies import NoticeVersion
    from vault.ids import TenantId

Language = Annotated[
    str | None, typer.Option("--language", metavar="LANG", help="Such as de.", show_default="the notice's main one")
]

group = make_group(
    "cdv notices list --vault my-vault",
    "cdv notices show marketing@3 --language de",
    "cdv notices diff marketing@3 marketing@4 --policies policies",
)


class _Text(NamedTuple):
    """One text: parsed, and the whole file."""

    notice: Notice
    file: str


class _Compared(NamedTuple):
    old: Notice
    new: Notice
    changes: Changes
    day: date
    again: list[AskAgain]


@command(group, "cdv notices list --vault my-vault", name="list")
async def list_(session: Session) -> None:
    """List the notices of the policies in force, and for which purposes a consent to them is good."""
    versions = versions_of(session.services, session.services.policies.active(session.tenant)).versions
    if session.as_json:
        emit([_listed(each) for each in versions])
        return
    rows = [
        (
            each.main.id,
            "yes" if each.in_force else f"from {each.main.valid_from}",
            "yes" if each.main.material else "no",
            ", ".join(each.languages),
            ", ".join(each.good_for) or "-",
        )
        for each in versions
    ]
    show_table(("notice", "in force", "material", "languages", "good for"), rows, empty="there are no notices")


@command(group, "cdv notices show marketing@3", "cdv notices show marketing@3 --language de")
async def show(
    session: Session,
    notice: Annotated[str, typer.Argument(metavar="NOTICE", help="A version such as marketing@3, or a hash.")],
    language: Language = None,
) -> None:
    """Show a notice, word for word; also one that has left the policies since."""
    found = await _find(
        session.services, session.tenant, session.services.policies.active(session.tenant).policy_set, notice, language
    )
    if session.as_json:
        emit({**_named(found.notice), "text": found.file})
    else:
        typer.echo(found.file, nl=not found.file.endswith("\n"))


@command(
    group, "cdv notices diff marketing@2 marketing@3", "cdv notices diff marketing@3 marketing@4 --policies policies"
)
async def diff(
    session: Session,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version such as marketing@2.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another version, such as marketing@3.")],
    policies: Annotated[
        Path | None,
        typer.Option("--policies", metavar="DIR", help="A policy folder that NEW is in and that is not in force yet."),
    ] = None,
    language: Language = None,
) -> None:
    """Show by the word what changed between two versions, and how many people must be asked again."""
    compared = await _compare(session.services, session.tenant, old, new, policies, language)
    if session.as_json:
        emit(_as_data(compared))
    else:
        _show(compared)


async def _compare(
    services: Services, tenant: TenantId, old: str, new: str, folder: Path | None, language: str | None
) -> _Compared:
    active = services.policies.active(tenant).policy_set
    ahead = active if folder is None else PolicySet.from_folder(folder)
    older = (await _find(services, tenant, active, old, language)).notice
    newer = (await _find(services, tenant, ahead, new, language)).notice
    today = services.clock.now().date()
    day = max(today, newer.valid_from or today)
    again = await ask_again(services, tenant, newer.name, ahead, day)
    return _Compared(older, newer, compare(older, newer), day, again)


async def _find(services: Services, tenant: TenantId, policies: PolicySet, named: str, language: str | None) -> _Text:
    """Find a text in a policy folder, or else among those that ever were in force.

    Raises:
        NotFound: there is no such version, or not in that language.
    """
    notices = policies.notices
    there = notices.by_digest(named) or _in(notices.languages(named), language)
    if there is not None:
        return _Text(there, policies.files[there.file])
    by_digest = await services.policies.notice_text(tenant, named)
    kept = await services.policies.notice_texts(tenant, named) if by_digest is None else [by_digest]
    for each in kept:
        parsed = each.parsed()
        if parsed is not None and language in {None, each.language}:
            return _Text(parsed, each.body.decode())
    if kept or named in notices:
        raise NotFound("this notice is not there in that language", hint="`cdv notices list` names the languages")
    raise NotFound("there is no such notice", hint=did_you_mean(named, notices, "`cdv notices list` names them"))


def _in(languages: Any, language: str | None) -> Notice | None:
    """Choose a language; the main one comes first."""
    found: Notice | None = next(iter(languages.values()), None) if language is None else languages.get(language)
    return found


def _listed(each: NoticeVersion) -> dict[str, Any]:
    return {
        "notice": each.main.id,
        "title": each.main.title,
        "purposes": each.main.purposes,
        "material": each.main.material,
        "valid_from": each.main.valid_from,
        "in_force": each.in_force,
        "current": each.current,
        "good_for": each.good_for,
        "languages": {language: text.digest for language, text in each.languages.items()},
    }


def _named(notice: Notice) -> dict[str, Any]:
    return {"notice": notice.id, "language": notice.language, "digest": notice.digest, "material": notice.material}


def _as_data(compared: _Compared) -> dict[str, Any]:
    return {
        "old": _named(compared.old),
        "new": _named(compared.new),
        "front": compared.changes.front,
        "paragraphs": [[piece._asdict() for piece in each] for each in compared.changes.paragraphs],
        "from": compared.day,
        "ask_again": [{**each._asdict(), "total": each.total} for each in compared.again],
    }


def _show(compared: _Compared) -> None:
    old, new, changes, day, again = compared
    typer.secho(f"{old.id} ({old.language}) -> {new.id} ({new.language})", bold=True)
    for key, (before, after) in changes.front.items():
        typer.echo(f"{key}: {_out(_value(before))} {_in_(_value(after))}")
    for paragraph in changes.paragraphs:
        typer.echo()
        typer.echo(" ".join(_piece(each) for each in paragraph))
    if not changes.front and not changes.paragraphs:
        note("The two say the same, word for word.")
    typer.echo()
    said = "is material: it asks anew" if new.material else "is not material: it asks nobody anew by itself"
    typer.echo(f"{new.id} {said}.")
    for each in again:
        _show_again(each, day)
    if not again:
        typer.echo(f"No purpose asks for consent by {new.name}.")


def _show_again(each: AskAgain, day: date) -> None:
    typer.secho(f"{each.purpose}, from {day}: {each.total} to ask again", bold=True)
    for notice, count in each.people.items():
        typer.echo(f"    {count} agreed to {notice}")
    typer.echo(f"    good from then on: {', '.join(each.accepted) or 'no version'}")


def _piece(piece: Piece) -> str:
    if piece.kind == "same":
        return piece.text
    return _out(piece.text) if piece.kind == "out" else _in_(piece.text)


def _out(text: str) -> str:
    return typer.style(f"[-{text}-]", fg=typer.colors.RED)


def _in_(text: str) -> str:
    return typer.style(f"{{+{text}+}}", fg=typer.colors.GREEN)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, tuple) else str(value if value is not None else "none")
