"""How a person is named at the command line: by id, by the number in another system, or by an e-mail address.

Numbers and addresses are looked up once the vault is open. An address is asked for, and never an argument: arguments
stay in the history of the shell, and other users of the machine see them. No message repeats what was typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from vault.access.authorization import subject_not_found
from vault.access.recording import record_failure
from vault.cli.command import Reference
from vault.errors import Conflict, NotFound
from vault.requests.verification import EMAIL, EXTERNAL_ID, find_person

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.cli.command import Session
    from vault.ids import SubjectId

FORMS: Final = "the person's id, `system=number` such as erp=100001, or `email`, to be asked for the address"
HELP: Final = f"The person: {FORMS.removeprefix('the person')[3:]}."


@dataclass(frozen=True, slots=True)
class Named(Reference):
    """A person by what is known of them: ``{"email": "…"}``, or ``{"external_id": {"erp": "100001"}}``."""

    identity: Mapping[str, object]

    async def resolve(self, session: Session) -> SubjectId:
        """Return the person's id.

        Raises:
            InvalidInput: the name of the system, the number or the address has a form that none has.
            NotFound: it is no one's; recorded.
            Conflict: it is several people's; recorded.
        """
        services, caller = session.services, session.caller
        match = await find_person(services, session.tenant, self.identity)
        if match.subject is not None:
            return match.subject
        error: NotFound | Conflict = subject_not_found(hint="check the system and the number, or the address")
        if match.code is not None:
            error = Conflict(
                "several people have it", code=match.code, hint="name one by id; `cdv subjects duplicates` lists pairs"
            )
        await record_failure(services, caller, "search", error)
        raise error


def read_subject(typed: str | UUID | Named, *, ask: bool = True) -> UUID | Named:
    """Read how a person is named.

    Args:
        typed: the argument.
        ask: an address may be asked for.

    Raises:
        BadParameter: it has none of the forms.
    """
    if not isinstance(typed, str):  # a default, which goes through the parser too
        return typed
    system, sign, number = typed.partition("=")
    if sign and system and number:
        return Named({EXTERNAL_ID: {system: number}})
    if typed == EMAIL and ask:
        return Named({EMAIL: typer.prompt("E-mail address", err=True)})
    try:
        return UUID(typed)
    except ValueError:
        raise typer.BadParameter(f"write {FORMS}") from None


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", parser=read_subject, help=HELP)]
argument = partial(typer.Argument, parser=read_subject)
"""An argument that is a person."""
option = partial(typer.Option, parser=read_subject, metavar="SUBJECT")
"""An option that is a person."""
