"""Cursors that callers bring back: sealed, so that no one reads from them or makes one, and bound to the question.

The cursor of a search names a person who was looked at and may not be among the results. So it is sealed, unlike that
of a list whose ids the caller sees anyway.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from vault.errors import CannotOpen, Fault, InvalidInput

if TYPE_CHECKING:
    from vault.context import Caller, Services

LONGEST: Final = 200
_LABEL: Final = "cursor"


async def seal_cursor(services: Services, caller: Caller, asked: object, position: bytes) -> str:
    """Seal the position of a page's end.

    Args:
        asked: what the pages are of, as values that msgspec encodes; the next page must ask the same.
    """
    tokens = await services.keyring.token_key(caller.tenant)
    return urlsafe_b64encode(tokens.seal(_LABEL, position, _context(caller, asked))).rstrip(b"=").decode()


async def open_cursor(services: Services, caller: Caller, asked: object, cursor: str) -> bytes:
    """Return the position in a cursor.

    Raises:
        InvalidInput: it is not a cursor of this caller's for the same question.
    """
    tokens = await services.keyring.token_key(caller.tenant)
    try:
        sealed = urlsafe_b64decode(f"{cursor}{'=' * (-len(cursor) % 4)}".encode("ascii"))
        return tokens.open(_LABEL, sealed, _context(caller, asked))
    except (CannotOpen, ValueError):  # ValueError: not Base64, or not ASCII
        fault = Fault("/cursor", "invalid-cursor", "Pass the previous page's `next` value unchanged.")
        raise InvalidInput(
            "the cursor is not of this question",
            faults=[fault],
            code="invalid-cursor",
            hint="send the same criteria and purpose with it, as the same app; or begin again without a cursor",
        ) from None


def _context(caller: Caller, asked: object) -> bytes:
    return sha256(msgspec.msgpack.encode([str(caller.tenant), str(caller.principal.id), asked])).digest()
