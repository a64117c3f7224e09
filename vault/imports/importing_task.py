"""What an import is about: handed to every process that takes part, and what each makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vault.access.operator import at_the_console
from vault.consent.lawfulness import subject_refusal
from vault.imports.importing_lines import LineMaker, needed
from vault.imports.readers import open_reader
from vault.imports.task import permit
from vault.storage.columns import to_microseconds
from vault.subjects.record_body import Origin
from vault.subjects.rows import Maker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from vault.catalogue.model import Field
    from vault.context import Caller, House
    from vault.errors import Refusal
    from vault.ids import TenantId
    from vault.imports.mapping import FileMapping
    from vault.imports.reader import Reader
    from vault.imports.task import Grant
    from vault.subjects.store import Found


class Task(NamedTuple):
    """One import of one file, in words that may travel to another process: no value and no key is in them.

    ``run`` is none for a dry run.
    """

    path: Path
    mapping: FileMapping
    tenant: TenantId
    purpose: str
    source: str
    started_at: datetime
    run: UUID | None


@dataclass(frozen=True, slots=True)
class Work:
    """A task, made ready in this process: the open file, what the policies say, the tenant's index keys."""

    house: House
    caller: Caller
    task: Task
    reader: Reader
    maker: LineMaker
    grant: Grant
    fields: Mapping[str, Field]
    rows: Maker
    origin: Origin

    @property
    def tenant(self) -> TenantId:
        """Return the tenant whose people they are."""
        return self.task.tenant

    def stopped(self, person: Found) -> Refusal | None:
        """Say why nothing may be written about a person who is there: a restriction, or an objection."""
        return subject_refusal(person, self.grant.ground, to_microseconds(self.house.clock.now()))


async def make_ready(house: House, task: Task) -> Work:
    """Open the file and ask the policies.

    Raises:
        InvalidInput: the file or the mapping does not have its form, or names what does not exist.
        Denied: the purpose does not let these fields be written.
    """
    caller = at_the_console(task.tenant)
    grant = await permit(house, caller, task.mapping, task.purpose)
    reader = open_reader(task.mapping, task.path, needed(task.mapping))
    index_keys = await house.keyring.index_keys(task.tenant)
    return Work(
        house,
        caller,
        task,
        reader,
        LineMaker(task.mapping, grant.declared, reader),
        grant,
        grant.declared,
        # Everything of an import is of one moment, whenever its chunks come to be written.
        Maker(task.tenant, index_keys, task.started_at),
        Origin(task.source, task.started_at, task.purpose),
    )
