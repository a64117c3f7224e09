"""Receipts of what people said, and the public keys that they are checked by."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from vault.api.answers import answer
from vault.api.doors import Rooms, SignedIn
from vault.consent.receipts.issue import read_receipt, signing_keys
from vault.consent.receipts.receipt import Format
from vault.crypto.signing import as_jwk
from vault.ids import SubjectId

router = APIRouter(prefix="/v1", tags=["consents"])


@router.get("/subjects/{subject}/consents/{event}/receipt", response_model=dict[str, Any])
async def receipt(
    subject: UUID,
    event: UUID,
    house: Rooms,
    caller: SignedIn,
    form: Annotated[Format, Query(alias="format")] = "dpv",
) -> Response:
    """Get the signed receipt of an event: ISO/IEC TS 27560 as JSON-LD (`dpv`), or `kantara`; `cdv verify` checks it."""
    return answer(await read_receipt(house, caller, SubjectId(subject), event, form=form))


@router.get("/signing-keys", response_model=dict[str, Any])
async def keys(house: Rooms, caller: SignedIn) -> Response:
    """List the public keys by which the vault signs or ever signed, the current one first, as a JWK set (RFC 7517)."""
    return answer({"keys": [as_jwk(each) for each in await signing_keys(house, caller)]})
