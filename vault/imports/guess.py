"""A mapping for files whose columns are named like the fields of the profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vault.catalogue.types.places import ADDRESS_PARTS
from vault.errors import Fault, InvalidInput
from vault.ids import is_slug
from vault.imports.mapping import Cell, FileMapping
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.catalogue.model import Catalogue
    from vault.imports.mapping import Given

EXTERNAL = "external_ids."


def guess_mapping(columns: Sequence[str], catalogue: Catalogue, base: FileMapping | None = None) -> FileMapping:
    """Map columns to the fields of their names: ``email``, ``address.city``, and ``external_ids.shop`` for numbers.

    Raises:
        InvalidInput: a column has the name of no field, or none holds an external id. Columns are told by position:
            a file without a first line of names would else show its first customer.
    """
    fields: dict[str, Given] = {}
    ids: dict[str, Given] = {}
    parts: dict[str, dict[str, str | Cell]] = {}
    faults = []
    known = catalogue.collections[PROFILE].fields
    for position, column in enumerate(columns, 1):
        name, _, part = column.partition(".")
        field = known.get(name)
        if column.startswith(EXTERNAL) and is_slug(part):
            ids[part] = column
        elif field is not None and not field.system and not part:
            fields[name] = column
        elif field is not None and field.type == "address" and part in ADDRESS_PARTS:
            parts.setdefault(name, {})[part] = column
        else:
            detail = f"column {position} has the name of no field of the profile"
            faults.append(Fault("/columns", "unknown-column", detail))
    if not ids:
        faults.append(
            Fault("/columns", "no-external-id", f"no column is called {EXTERNAL}<system>, such as {EXTERNAL}shop")
        )
    if faults:
        raise InvalidInput(
            "the file's columns do not say what they are",
            faults=faults,
            code="mapping-needed",
            hint="write a mapping and name it by --mapping; docs/import.md shows how",
        )
    fields |= {name: Cell(object=members) for name, members in parts.items()}
    return msgspec.structs.replace(base or FileMapping(), fields=fields, external_ids=ids)
