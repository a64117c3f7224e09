"""The root of the command line: it knows the names of all commands, and imports only the one that is used.

To import all modules takes seconds. To build all commands takes a quarter of a second, as the annotation of each
option is analysed.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand
from typer.main import get_command_from_info, get_group

from vault.cli.command import TOP_LEVEL, without_collection
from vault.cli.output import Commands

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyCommands(Commands):
    """A group whose commands are imported and built when they are used.

    Attributes:
        table: name of a command or group -> its module, or the ``module:attribute`` of a group; and its short help.
    """

    table: Mapping[str, tuple[str, str]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Loaded(self.table)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of the table."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command that has a name and a help only: enough for the list of commands, and for completion."""
        del ctx
        return TyperCommand(cmd_name, help=self.table[cmd_name][1]) if cmd_name in self.table else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Load the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, (self.commands[name] if name else command), rest


class _Loaded(MutableMapping[str, Any]):
    """The commands by name; each is imported and built when it is looked up."""

    def __init__(self, table: Mapping[str, tuple[str, str]]) -> None:
        self._table = table
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            place, text = self._table[name]
            module, _, attribute = place.partition(":")
            with without_collection():
                imported = import_module(f"vault.cli.{module}")
            self._built[name] = _group(name, getattr(imported, attribute), text) if attribute else _command(name)
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _group(name: str, group: Any, text: str) -> Any:
    built = get_group(group)
    built.name, built.help = name, text
    return built


def _command(name: str) -> Any:
    info = next(info for info in TOP_LEVEL.registered_commands if info.name == name)
    return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=TOP_LEVEL.rich_markup_mode)
