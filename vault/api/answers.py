"""How answers are written: JSON by msgspec, with the vault's raw values in it as they were sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from vault.clock import rfc3339

if TYPE_CHECKING:
    from datetime import datetime

_encoder = msgspec.json.Encoder()


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Write an answer."""
    return Response(_encoder.encode(body), status, headers, "application/json")


def moment(value: datetime | None) -> str | None:
    """Write a time."""
    return None if value is None else rfc3339(value)
