"""Opens a vault for a command, and prints the command's answer."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from vault.cli.output import emit, note, show_table
from vault.errors import NotFound
from vault.ids import DEFAULT_TENANT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vault.bootstrap import Vault
    from vault.context import Caller, Services
    from vault.ids import TenantId


@dataclass(frozen=True, slots=True)
class VaultSession:
    """An open vault, for a command without a tenant.

    Attributes:
        as_json: the command writes JSON instead of text.
    """

    vault: Vault
    as_json: bool

    @property
    def services(self) -> Services:
        """Return the services of the vault."""
        return self.vault.services

    def show(self, answer: object, *sentences: str) -> None:
        """Print an answer as JSON, or else sentences about it on standard error."""
        if self.as_json:
            emit(answer)
        else:
            for sentence in sentences:
                note(sentence)

    def show_table(
        self,
        answer: object,
        headings: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        empty: str,
        then: str | None = None,
    ) -> None:
        """Print an answer as JSON, or else as a table and a sentence after it; ``empty`` stands for no rows."""
        if self.as_json:
            emit(answer)
            return
        show_table(headings, rows, empty=empty)
        if then is not None:
            note(then)


@dataclass(frozen=True, slots=True)
class Session(VaultSession):
    """An open vault and a tenant of it."""

    tenant: TenantId

    @property
    def caller(self) -> Caller:
        """Return the operator of the tenant, with a request id of its own for each operation."""
        from vault.access.callers import operator_caller

        return operator_caller(self.tenant)


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens the vault when the command needs it, such as after a prompt."""

    folder: Path
    tenant: str = DEFAULT_TENANT
    as_json: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def vault(self) -> AsyncIterator[VaultSession]:
        """Open the vault.

        Raises:
            Misconfigured: there is no vault in the folder, or it does not open.
            Unavailable: a database does not answer.
        """
        with without_collection():
            from vault.bootstrap import open_vault

        async with open_vault(self.folder, **self.settings) as vault:
            yield VaultSession(vault, self.as_json)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Open the vault for the tenant.

        Raises:
            NotFound: the vault has no such tenant.
            Misconfigured, Unavailable: as with :meth:`vault`.
        """
        async with self.vault() as opened:
            tenant = await known_tenant(opened.services, self.tenant)
            yield Session(opened.vault, self.as_json, tenant)


T = TypeVar("T")


@contextmanager
def without_collection() -> Iterator[None]:
    """Import modules without garbage collection.

    Imported objects are not garbage; to collect again and again takes a tenth of the start-up time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was imported lives as long as the process: later collections need not look at it
        gc.enable()


def run(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine; the vault logs warnings and errors on standard error."""
    from vault import logs

    logs.configure("warning")
    return asyncio.run(work)


async def known_tenant(services: Services, name: str) -> TenantId:
    """Find a tenant by its name.

    Raises:
        NotFound: no tenant has this name.
    """
    for tenant in await services.keyring.tenants():
        if tenant == name:
            return tenant
    raise NotFound("there is no such tenant", hint="list them by `cdv tenants list`, or add one by `cdv tenants add`")
