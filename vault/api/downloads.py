"""Answer with a file that is made while it is sent."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from vault.export.download import Download


def file_response(download: Download) -> StreamingResponse:
    """Send a package, to be saved and in no way kept on the way there.

    Its length is told first, so that whoever gets less notices.
    """
    headers = {
        "Content-Length": str(download.size),
        "Content-Disposition": f'attachment; filename="{download.name}"',
        "Cache-Control": "no-store",
    }
    if download.digest is not None:
        headers["Content-Digest"] = f"sha-256=:{b64encode(download.digest).decode()}:"  # RFC 9530
    return StreamingResponse(download.stream, headers=headers, media_type=download.media_type)
