"""What every command uses: common options, the vault that is opened for it, the printed answer, and the decorator."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from vault import logs
from vault.cli.output import emit, note, show_table, warn
from vault.clock import Clock
from vault.errors import NotFound
from vault.ids import DEFAULT_TENANT
from vault.moments import read_moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from vault.bootstrap import Vault
    from vault.catalogue.periods import Period
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
        """Print an answer as JSON, or else as a table and a sentence after it; without rows it is ``empty``."""
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


class Reference(ABC):
    """An argument that stands for an id, which only the open vault knows."""

    __slots__ = ()

    @abstractmethod
    async def resolve(self, session: Session) -> object:
        """Return the id; raises a VaultError if there is none."""


async def resolved(value: Any, session: Session) -> Any:
    """Return an argument, with ids in the place of references to them."""
    if isinstance(value, Reference):
        return await value.resolve(session)
    if isinstance(value, list):
        return [await resolved(item, session) for item in value]
    return value


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

        warn_of_variables()
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


def warn_of_variables() -> None:
    """Warn of variables of the environment that look like settings of the vault and are none."""
    from vault.bootstrap import unknown_variables

    for sentence in unknown_variables():
        warn(sentence)


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


HERE = Path()
DEFAULT = str(DEFAULT_TENANT)

VaultFolder = Annotated[
    Path,
    typer.Option(
        "--vault", metavar="DIR", envvar="CDV_VAULT", help="The vault's folder.", show_default="the current folder"
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
App = Annotated[str, typer.Argument(metavar="APP", help="Name of the app.")]
Request = Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request's id.")]
Names = list[str] | None
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line; sealed.")]

SUBJECT = "0199aabb-0000-7000-8000-000000000001"
"""The id of a person in the examples."""

PAST_FORMS = "3d ago, 2027-01-31 (UTC) or 2027-01-31T12:00:00Z"
FUTURE_FORMS = "in 90d, 2027-01-31 (UTC) or 2027-01-31T12:00:00Z"
_PAST_DAYS = re.compile(r"([1-9][0-9]{0,4})d(?: ago)?")
_FUTURE_DAYS = re.compile(r"(?:in )?([1-9][0-9]{0,4})d")


def parse_moment(typed: str, now: datetime, *, forward: bool, as_stated: bool = False) -> datetime:
    """Parse a time: ``3d ago`` or ``in 90d``, the start of a day (``2027-01-31``, UTC), or a moment of RFC 3339.

    Days without a word are in the direction that the command asks for.

    Args:
        as_stated: keep the offset that a moment states, and take the noon of a day, which is on that day in nearly all
            time zones; now if that is earlier.

    Raises:
        BadParameter: invalid, a time without a zone, or too many days.
    """
    days = (_FUTURE_DAYS if forward else _PAST_DAYS).fullmatch(typed)
    try:
        if days:
            return now + timedelta(days=int(days[1])) * (1 if forward else -1)
        if len(typed) == len("2027-01-31"):
            stated = datetime.combine(date.fromisoformat(typed), time(12 if as_stated else 0), UTC)
            return min(stated, now) if as_stated and stated.date() == now.date() else stated
        moment = read_moment(typed)
        if moment is not None and moment.tzinfo is not None:
            return moment if as_stated else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise typer.BadParameter(f"write {FUTURE_FORMS if forward else PAST_FORMS}: days, a day, or a moment with its zone")


def parse_period(typed: str | Period) -> Period:
    """Parse a calendar period: ``P3Y``, ``P6M``, ``P30D`` or ``P1Y6M``.

    Raises:
        BadParameter: invalid, or zero.
    """
    from vault.catalogue.periods import Period, read_period

    if isinstance(typed, Period):  # an option's default, which goes through the parser too
        return typed
    period = read_period(typed)
    if period is None:
        raise typer.BadParameter("write P3Y, P6M, P30D or P1Y6M")
    return period


past = partial(typer.Option, metavar="WHEN", parser=lambda typed: parse_moment(typed, Clock().now(), forward=False))
"""An option for a time in the past."""
received = partial(
    typer.Option,
    metavar="WHEN",
    parser=lambda typed: parse_moment(typed, Clock().now(), forward=False, as_stated=True),
)
"""An option for a time whose civil day counts, at the place that its offset states."""
future = partial(typer.Option, metavar="WHEN", parser=lambda typed: parse_moment(typed, Clock().now(), forward=True))
"""An option for a time in the future."""
day = partial(typer.Option, metavar="DAY", formats=["%Y-%m-%d"])
"""An option for a day."""


F = TypeVar("F", bound="Callable[..., Any]")

TOP_LEVEL = typer.Typer()
"""The commands that are in no group."""


def examples(*lines: str) -> str:
    """Format the examples at the end of a command's help."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def make_group(*lines: str) -> typer.Typer:
    """Make a group of commands; its help text is in :data:`vault.cli.COMMANDS`, and is shown if no command is named."""
    group = typer.Typer(epilog=examples(*lines), invoke_without_command=True)

    @group.callback()
    def start(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return group


def command(
    group: typer.Typer,
    *lines: str,
    name: str | None = None,
    confirm: str | None = None,
    json: bool = True,
    **settings: Any,
) -> Callable[[F], F]:
    """Add a function to a group as a command.

    The annotation of its first parameter says what the command needs. With :class:`Session` it runs in the open vault
    for a tenant, with :class:`VaultSession` in the open vault; with :class:`Opener` it opens the vault itself. These
    are coroutine functions, and get the options ``--vault``, ``--tenant`` and ``--json`` after their own. Another
    function is added as it is.

    Args:
        group: where it belongs: a group, or :data:`TOP_LEVEL`.
        lines: examples for its help.
        name: by which it is called; the function's by default.
        confirm: the question that is asked before the vault is opened, unless there is ``--yes``.
        json: it can write JSON.
        settings: settings of the vault that go before those of its folder.
    """

    def add(function: F) -> F:
        callback: Callable[..., Any] = function
        if inspect.iscoroutinefunction(function):
            callback = _opening(function, confirm, json=json, settings=settings)
        group.command(name, epilog=examples(*lines))(callback)
        return function

    return add


def _opening(
    function: Callable[..., Any], confirm: str | None, *, json: bool, settings: dict[str, Any]
) -> Callable[..., None]:
    """Wrap a coroutine function that takes a session as a function that typer can call."""
    signature = inspect.signature(function, eval_str=True)
    session, *own = signature.parameters.values()
    of_tenant = session.annotation is not VaultSession
    added = [_option("vault", VaultFolder, HERE)]
    if of_tenant:
        added.append(_option("tenant", Tenant, DEFAULT))
    if confirm is not None and "yes" not in signature.parameters:
        added.append(_option("yes", Yes, default=False))
    if json:
        added.append(_option("as_json", Json, default=False))

    async def opened(opener: Opener, given: dict[str, Any]) -> None:
        if session.annotation is Opener:
            await function(opener, **given)
        elif of_tenant:
            async with opener.session() as ready:
                await function(ready, **{name: await resolved(value, ready) for name, value in given.items()})
        else:
            async with opener.vault() as vault:
                await function(vault, **given)

    def start(**given: Any) -> None:
        opener = Opener(given.pop("vault"), given.pop("tenant", DEFAULT), given.pop("as_json", False), settings)
        if confirm is not None and not given.pop("yes"):
            typer.confirm(confirm, abort=True, err=True)
        run(opened(opener, given))

    start.__name__ = function.__name__
    start.__doc__ = function.__doc__
    start.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return start


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
