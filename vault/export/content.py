"""What a package of access or portability holds, entry by entry (Arts. 15 and 20 GDPR)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.export.collect import gather
from vault.export.contents import SCHEMA, data_file, schema
from vault.export.csv_tables import accesses_sheet, paths, sheet
from vault.export.html import page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vault.context import House
    from vault.export.collect import Content
    from vault.ids import SubjectId, TenantId
    from vault.requests.model import Request

PORTABILITY = "portability"


async def package_entries(
    house: House, tenant: TenantId, subject: SubjectId, request: Request
) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """Go through the entries of a package: each entry's path in the ZIP and its bytes, to be read before the next.

    Values are opened while they are written and never lie around: of a thousand records some hundred are in memory at
    a time.

    Raises:
        NotFound: there is no such person, or no longer.
        CannotOpen: a sealed value does not open at its place.
    """
    content = await gather(
        house, tenant, subject, request, portable=request.kind == PORTABILITY, language=request.language
    )
    for path, written in entries(content):
        yield path, written


def entries(content: Content) -> list[tuple[str, AsyncIterator[bytes]]]:
    """List the entries of a package, the page for people first; nothing is read before its turn."""
    found = [
        ("index.html", page(content)),
        ("README.txt", _at_once(content.texts.readme(access=not content.portable).replace("\n", "\r\n").encode())),
        ("data.json", data_file(content)),
        (SCHEMA, _at_once(schema())),
    ]
    found += [(path, sheet(content, name)) for name, path in paths(content.head.collections).items()]
    if not content.portable:
        found.append(("accesses.csv", accesses_sheet(content)))
    return found


async def _at_once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole
