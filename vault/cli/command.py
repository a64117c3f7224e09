"""The decorator that declares a command, opens the vault for it, and adds the common options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes
from vault.cli.session import Opener, VaultSession, run

if TYPE_CHECKING:
    from collections.abc import Callable

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
        else:
            async with opener.session() if of_tenant else opener.vault() as ready:
                await function(ready, **given)

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
