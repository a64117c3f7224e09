"""What the columns of a file of consents mean. ``docs/import.md`` explains every key.

.. code-block:: toml

    source = "old-crm"
    system = "shop"                   # whose numbers `external_id` holds
    time_zone = "Europe/Berlin"       # of times that name none

    [columns]
    external_id = "customer_no"
    purpose = { constant = "direct-marketing" }
    decision = { column = "newsletter", values = { Y = "given", N = "withdrawn" } }
    occurred_at = { column = "changed", date_format = "%d.%m.%Y %H:%M" }

Without a mapping the columns are named like the keys under ``[columns]``.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final

import msgspec

from vault.errors import Fault, InvalidInput
from vault.ids import is_slug
from vault.imports.mapping import FileForm, FileMapping, Given, is_zone, mapping_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS: Final = (
    "subject", "system", "external_id", "purpose", "decision", "notice", "language", "channel", "method", "by",
    "evidence", "jurisdiction", "occurred_at", "valid_until",
)  # fmt: skip
NEEDED: Final = ("purpose", "decision", "occurred_at")


class ConsentMapping(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What the columns of a file of consents mean."""

    columns: dict[str, Given] = {}
    file: FileForm = FileForm()
    source: str | None = None
    system: str | None = None
    time_zone: str = "UTC"

    @property
    def as_file(self) -> FileMapping:
        """Return what the readers of files need to know."""
        return FileMapping(file=self.file)


def read_consent_mapping(path: Path) -> ConsentMapping:
    """Read a mapping.

    Raises:
        InvalidInput: the file is not there, is no TOML, or says what cannot be.
    """
    try:
        found = msgspec.convert(tomllib.loads(mapping_text(path)), ConsentMapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _invalid([Fault("/", "wrong-key", str(error))]) from None
    faults = list(_faults(found))
    if faults:
        raise _invalid(faults)
    return found


def with_columns_of(mapping: ConsentMapping, columns: Sequence[str]) -> ConsentMapping:
    """Let the columns of a file that are named like ours mean what they say, where the mapping names none.

    Raises:
        InvalidInput: what is needed is not among them; or a column is, of which nobody says what it means: it could be
            the day on which a consent ends, under another name.
    """
    if not mapping.columns:
        if not set(columns) <= set(COLUMNS):
            raise InvalidInput(
                "the file has columns that mean nothing here",
                code="unknown-column",
                hint="name the columns like the keys that docs/import.md lists, or write a mapping",
            )
        mapping = msgspec.structs.replace(mapping, columns={name: name for name in COLUMNS if name in columns})
    missing = [name for name in NEEDED if name not in mapping.columns]
    if "subject" not in mapping.columns and "external_id" not in mapping.columns:
        missing.append("subject or external_id")
    if missing:
        faults = [Fault("/columns", "missing-key", f"nothing says what `{name}` is") for name in missing]
        raise InvalidInput(
            "the file lacks columns",
            faults=faults,
            code="missing-column",
            hint="name its columns like that, or write a mapping; docs/import.md explains it",
        )
    if "external_id" in mapping.columns and "system" not in mapping.columns and mapping.system is None:
        raise InvalidInput(
            "nothing says which system the external ids are of",
            code="no-system",
            hint="say --system shop, or write `system` in the mapping",
        )
    return mapping


def _faults(mapping: ConsentMapping) -> Iterator[Fault]:
    for name in mapping.columns:
        if name not in COLUMNS:
            yield Fault("/columns", "unknown-key", "the columns are: " + ", ".join(COLUMNS))
    if mapping.system is not None and not is_slug(mapping.system):
        yield Fault("/system", "invalid-system", "a system's name has only a-z, 0-9, - and _")
    if not is_zone(mapping.time_zone):
        yield Fault("/time_zone", "wrong-value", "use a name of the tz database, such as Europe/Berlin")


def _invalid(faults: list[Fault]) -> InvalidInput:
    return InvalidInput(
        "the mapping says what cannot be", faults=faults, code="mapping-invalid", hint="docs/import.md explains it"
    )
