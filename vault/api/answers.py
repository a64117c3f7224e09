"""How answers are written: JSON by msgspec, with the vault's raw values in it as they were sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from vault.clock import rfc3339
from vault.operations.show import Opened

if TYPE_CHECKING:
    from datetime import datetime

    from vault.operations.read_fields import Shown


def _opened(value: Any) -> Any:
    """Write what msgspec does not know by itself: the values of a subject that were opened together."""
    if isinstance(value, Opened):
        return value.json()
    raise NotImplementedError


encode = msgspec.json.Encoder(enc_hook=_opened).encode


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Write an answer."""
    return Response(encode(body), status, headers, "application/json")


def shown(result: Shown) -> dict[str, Any]:
    """Write one subject's part of an answer."""
    return {"subject": result.subject, "fields": result.fields, "denied": result.denied}


def moment(value: datetime | None) -> str | None:
    """Write a time."""
    return None if value is None else rfc3339(value)
