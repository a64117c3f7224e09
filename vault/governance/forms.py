"""The forms in which the record is handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from vault.governance import page
from vault.governance import record_formats as sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vault.governance.record_schema import Made

Form = Literal["json", "csv", "markdown"]

FORMS: tuple[Form, ...] = get_args(Form)

MEDIA_TYPES: Mapping[Form, str] = {"json": "application/json", "csv": "text/csv", "markdown": "text/markdown"}


def write(made: Made, form: Form) -> bytes:
    """Write the record; as JSON with the id of the audit entry of its making."""
    writers: Mapping[Form, Callable[[], bytes]] = {
        "json": lambda: msgspec.json.encode({**msgspec.structs.asdict(made.record), "audit": made.audit}),
        "csv": lambda: sheet.write(made.record).encode(),
        "markdown": lambda: page.write(made.record).encode(),
    }
    return writers[form]()
