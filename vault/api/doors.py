"""What routes need of the request: the open vault, and who calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from vault.context import Caller, House
from vault.errors import InvalidInput

if TYPE_CHECKING:
    from vault.access.sign_in import SignIns

_described = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="An API key (`cdv_…`) or a JWT of the company's OIDC issuer.",
)
_REVISION = re.compile(r'"(\d{1,9})"')
BEARER = "bearer "
NO_REVISION = 0


async def signed_in(request: Request, _described: Annotated[Any, Security(_described)] = None) -> Caller:
    """Find out who calls; the second argument only describes the scheme in the OpenAPI document.

    Raises:
        NotAuthenticated: the bearer stands for nobody, or there is none.
    """
    sign_ins: SignIns = request.app.state.sign_ins
    return await sign_ins.sign_in(bearer_of(request), request.scope["request_id"])


def bearer_of(request: Request) -> str | None:
    """Read the bearer of a request; none where it has none."""
    header = request.headers.get("authorization", "")
    return header[len(BEARER) :].strip() if header[: len(BEARER)].lower() == BEARER else None


def house_of(request: Request) -> House:
    """Return the rooms of the open vault."""
    house: House = request.app.state.house
    return house


SignedIn = Annotated[Caller, Depends(signed_in)]
Rooms = Annotated[House, Depends(house_of)]


def revision_of(if_match: str | None) -> int | None:
    """Read the revision from ``If-Match`` (RFC 9110 §13.1.1).

    Returns:
        the revision; none where none is stated, or ``*``, which would say that any revision will do; and 0, which no
        record has, for a weak or foreign tag: none of ours can match it.

    Raises:
        InvalidInput: no entity tag at all.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _REVISION.fullmatch(if_match.strip())
    if found is not None:
        return int(found[1])
    if '"' in if_match:
        return NO_REVISION
    raise InvalidInput('If-Match takes an entity tag such as "3"', code="invalid-if-match")
