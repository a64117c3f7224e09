"""``cdv notices``: the texts that people agree to, what changed in them, and who must be asked again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vault.catalogue.notices import compare
from vault.catalogue.toml_document import did_you_mean
from vault.cli.command import command, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.consent.expiry import ask_again
from vault.errors import NotFound
from vault.governance.query import notice_list
from vault.policy.policy_set import PolicySet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from vault.catalogue.notices import Changes, Notice, Piece
    from vault.consent.expiry import AskAgain
    from vault.governance.views import NoticeVersion

Language = Annotated[
    str | None, typer.Option("--language", metavar="LANG", help="Such as de.", show_default="the notice's main one")
]

group = make_group(
    "cdv notices list --vault my-vault",
    "cdv notices show marketing@3 --language de",
    "cdv notices diff marketing@3 marketing@4 --policies policies",
)


@dataclass(frozen=True, slots=True)
class _Text:
    """One text: parsed, and the whole file."""

    notice: Notice
    file: str


@dataclass(frozen=True, slots=True)
class _Comparison:
    old: Notice
    new: Notice
    changes: Changes
    day: date
    again: list[AskAgain]


@command(group, "cdv notices list --vault my-vault", name="list")
async def list_(session: Session) -> None:
    """List the notices of the policies in force, and the purposes for which a consent to them counts."""
    notices = notice_list(session.services, session.services.policies.active(session.tenant)).notices
    if session.as_json:
        emit([_listed(name, version) for name, version in notices.items()])
        return
    rows = [
        (
            name,
            "yes" if version.in_force else f"from {version.valid_from}",
            "yes" if version.material else "no",
            ", ".join(version.languages),
            ", ".join(version.good_for) or "-",
        )
        for name, version in notices.items()
    ]
    show_table(("notice", "in force", "material", "languages", "good for"), rows, empty="there are no notices")


@command(group, "cdv notices show marketing@3", "cdv notices show marketing@3 --language de")
async def show(
    session: Session,
    notice: Annotated[str, typer.Argument(metavar="NOTICE", help="A version such as marketing@3, or a hash.")],
    language: Language = None,
) -> None:
    """Show the text of a notice, also of one that is no longer in the policies."""
    policies = session.services.policies.active(session.tenant).policy_set
    text = await _find(session, policies, notice, language)
    if session.as_json:
        emit({**_reference(text.notice), "text": text.file})
    else:
        typer.echo(text.file, nl=not text.file.endswith("\n"))


@command(
    group, "cdv notices diff marketing@2 marketing@3", "cdv notices diff marketing@3 marketing@4 --policies policies"
)
async def diff(
    session: Session,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version such as marketing@2.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another version, such as marketing@3.")],
    policies: Annotated[
        Path | None,
        typer.Option("--policies", metavar="DIR", help="A policy folder with NEW that is not in force yet."),
    ] = None,
    language: Language = None,
) -> None:
    """Show the changes between two versions, word by word, and how many people must be asked again."""
    comparison = await _compare(session, old, new, policies, language)
    if session.as_json:
        emit(_as_data(comparison))
    else:
        _show(comparison)


async def _compare(session: Session, old: str, new: str, folder: Path | None, language: str | None) -> _Comparison:
    services = session.services
    active = services.policies.active(session.tenant).policy_set
    policies = active if folder is None else PolicySet.from_folder(folder)
    older = (await _find(session, active, old, language)).notice
    newer = (await _find(session, policies, new, language)).notice
    today = services.clock.now().date()
    day = max(today, newer.valid_from or today)
    again = await ask_again(services, session.tenant, newer.name, policies, day)
    return _Comparison(older, newer, compare(older, newer), day, again)


async def _find(session: Session, policies: PolicySet, name: str, language: str | None) -> _Text:
    """Find a text in a policy folder, or else among those that were ever in force.

    Raises:
        NotFound: there is no such version, or not in that language.
    """
    notices, stored = policies.notices, session.services.policies
    notice = notices.by_digest(name) or _in(notices.languages(name), language)
    if notice is not None:
        return _Text(notice, policies.files[notice.file])
    by_digest = await stored.notice_text(session.tenant, name)
    texts = await stored.notice_texts(session.tenant, name) if by_digest is None else [by_digest]
    for text in texts:
        parsed = text.parsed()
        if parsed is not None and language in {None, text.language}:
            return _Text(parsed, text.body.decode())
    if texts or name in notices:
        raise NotFound("the notice has no translation in that language", hint="`cdv notices list` names the languages")
    raise NotFound("there is no such notice", hint=did_you_mean(name, notices, "`cdv notices list` names them"))


def _in(languages: Mapping[str, Notice], language: str | None) -> Notice | None:
    """Return the text in a language; by default in the main one, which is the first."""
    return next(iter(languages.values()), None) if language is None else languages.get(language)


def _listed(name: str, version: NoticeVersion) -> dict[str, object]:
    digests = {language: text.digest for language, text in version.languages.items()}
    return {"notice": name, **version.as_json(), "languages": digests}


def _reference(notice: Notice) -> dict[str, object]:
    return {"notice": notice.id, "language": notice.language, "digest": notice.digest, "material": notice.material}


def _as_data(comparison: _Comparison) -> dict[str, object]:
    return {
        "old": _reference(comparison.old),
        "new": _reference(comparison.new),
        "front": comparison.changes.front,
        "paragraphs": [[piece._asdict() for piece in paragraph] for paragraph in comparison.changes.paragraphs],
        "from": comparison.day,
        "ask_again": [{**asdict(purpose), "total": purpose.total} for purpose in comparison.again],
    }


def _show(comparison: _Comparison) -> None:
    old, new, changes = comparison.old, comparison.new, comparison.changes
    typer.secho(f"{old.id} ({old.language}) -> {new.id} ({new.language})", bold=True)
    for key, (before, after) in changes.front.items():
        typer.echo(f"{key}: {_out(_value(before))} {_in_(_value(after))}")
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
    for purpose in comparison.again:
        _show_again(purpose, comparison.day)
    if not comparison.again:
        typer.echo(f"No purpose uses {new.name}.")


def _show_again(purpose: AskAgain, day: date) -> None:
    typer.secho(f"{purpose.purpose}, from {day}: {purpose.total} to ask again", bold=True)
    for notice, count in purpose.people.items():
        typer.echo(f"    {count} agreed to {notice}")
    typer.echo(f"    accepted from then on: {', '.join(purpose.accepted) or 'no version'}")


def _piece(piece: Piece) -> str:
    if piece.kind == "same":
        return piece.text
    return _out(piece.text) if piece.kind == "out" else _in_(piece.text)


def _out(text: str) -> str:
    return typer.style(f"[-{text}-]", fg=typer.colors.RED)


def _in_(text: str) -> str:
    return typer.style(f"{{+{text}+}}", fg=typer.colors.GREEN)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, tuple) else str(value if value is not None else "none")
