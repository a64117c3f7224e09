"""The texts that people agree to: which there are, and each by its hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Header, Response

from vault.api.answers import answer
from vault.api.doors import Rooms, SignedIn
from vault.governance.policies import list_notices, read_notice

if TYPE_CHECKING:
    from vault.governance.policies import NoticeVersion

router = APIRouter(prefix="/v1/notices", tags=["policies"])

MEDIA_TYPE: Final = "text/markdown; charset=utf-8"
FOR_EVER: Final = "private, max-age=31536000, immutable"
"""What has a hash for its address never changes; private, because it is a caller's key that opens it."""


@router.get("", response_model=dict[str, Any])
async def notices(house: Rooms, caller: SignedIn) -> Response:
    """List the notices: versions, languages with their hashes, in force or not, and for what they are good."""
    listed = await list_notices(house, caller)
    found = {each.main.id: _version(each) for each in listed.versions}
    return answer({"policy_version": listed.policy_version, "notices": found})


@router.get(
    "/{digest}",
    response_class=Response,
    responses={
        200: {"description": "The whole file, front matter included", "content": {"text/markdown": {}}},
        304: {"description": "The text that the caller has"},
    },
)
async def notice(
    digest: str, house: Rooms, caller: SignedIn, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """Return the very text that has a hash, `sha256:…`, however long ago it was in force."""
    found = await read_notice(house, caller, digest)
    tag = f'"{found.digest}"'
    headers = {"ETag": tag, "Cache-Control": FOR_EVER, "Content-Language": found.language}
    if if_none_match is not None and _has(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=MEDIA_TYPE)


def _has(stated: str, tag: str) -> bool:
    """Tell whether ``If-None-Match`` names a tag, weakly compared (RFC 9110 §13.1.2)."""
    return any(each.strip().removeprefix("W/") in {tag, "*"} for each in stated.split(","))


def _version(each: NoticeVersion) -> dict[str, Any]:
    return {
        "title": each.main.title,
        "purposes": list(each.main.purposes),
        "material": each.main.material,
        "valid_from": each.main.valid_from,
        "in_force": each.in_force,
        "current": each.current,
        "good_for": list(each.good_for),
        "language": each.main.language,
        "languages": {
            language: {"title": text.title, "digest": text.digest} for language, text in each.languages.items()
        },
    }
