"""Adoption: the rows of a vault that is older than MACs get them, once for each tenant, by ``cdv db upgrade``.

What is adopted is trusted as it is: nothing shows whether the vault wrote it. The key store says which tenants are
adopted, so that no row can be brought in by adopting it later. A row without a MAC is refused everywhere.

API keys and tokens of open confirmations go on: their new digest is made of the old one. Sessions end, for half an hour
is all that they last.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, func, select, tuple_, update

from vault.consent.store import CONFIRMATIONS
from vault.crypto.bearers import keyed_digest
from vault.crypto.row_mac import MAC
from vault.crypto.row_versions import ADOPTED
from vault.identity.tables import SUBJECT_SESSION
from vault.policy.store import VERSIONS
from vault.principals.store import API_KEYS, PRINCIPALS
from vault.recipients.store import WEBHOOKS
from vault.requests.store import REQUESTS
from vault.subjects.tables import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.crypto.derive import TokenKey
    from vault.crypto.keyring import Keyring
    from vault.crypto.row_mac import MacedTable, RowKeys
    from vault.ids import TenantId
    from vault.storage.database import Database

    Change = Callable[[TokenKey, int, dict[str, Any]], dict[str, Any]]
    """Brings a row to the present form, given its number among the tenant's rows."""


def _as_it_is(_tokens: TokenKey, _number: int, row: dict[str, Any]) -> dict[str, Any]:
    return row


def _with_keyed_key(tokens: TokenKey, _number: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | {"digest": keyed_digest(tokens, "api-key", bytes(row["digest"]))}


def _with_keyed_token(tokens: TokenKey, _number: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | {"token_hash": keyed_digest(tokens, "confirmation-token", bytes(row["token_hash"]))}


def _numbered(_tokens: TokenKey, number: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | {"row_version": number}


_STEPS: Final[tuple[tuple[tuple[MacedTable, Change], ...], ...]] = (
    (
        (PRINCIPALS, _as_it_is),
        (API_KEYS, _with_keyed_key),
        (VERSIONS, _numbered),
        (CONFIRMATIONS, _with_keyed_token),
    ),
    ((WEBHOOKS, _as_it_is), (REQUESTS, _as_it_is)),
    ((SUBJECTS, _as_it_is),),
)
"""What each step adopts. A table is in one step only: what was adopted once must have its MACs since."""
_PAGE: Final = 1_000
"""Rows in one transaction: there is a row for each person."""


async def adopt(database: Database, keyring: Keyring) -> dict[TenantId, int]:
    """Give MACs to the rows of all tenants that have none; killed and begun again, it adopts what is left.

    Returns:
        the number of rows by tenant, without tenants that were adopted before.
    """
    counts = {}
    for tenant, done in (await keyring.unadopted()).items():
        keys, tokens = await keyring.row_keys(tenant), await keyring.token_key(tenant)
        if not done:
            async with database.transaction() as connection:
                await connection.execute(delete(SUBJECT_SESSION).where(SUBJECT_SESSION.c.tenant_id == tenant))
        counts[tenant] = sum(
            [
                await _adopt(database, tenant, table, _sealing(table, keys, partial(change, tokens)))
                for step in _STEPS[done:]
                for table, change in step
            ]
        )
        await keyring.raise_version(tenant, ADOPTED)
    return counts


def _sealing(
    table: MacedTable, keys: RowKeys, change: Callable[[int, dict[str, Any]], dict[str, Any]]
) -> Callable[[int, dict[str, Any]], dict[str, Any]]:
    return lambda number, row: table.seal(keys, change(number, row))


async def _adopt(
    database: Database, tenant: TenantId, table: MacedTable, seal: Callable[[int, dict[str, Any]], dict[str, Any]]
) -> int:
    """Adopt the rows of one table, a page at a time: there is a row for each person."""
    columns, place = table.table.c, [column.name for column in table.table.primary_key]
    mine = columns.tenant_id == tenant
    keys = [columns[name] for name in place]
    page = select(*table.columns).where(mine, columns.mac.is_(None)).order_by(*keys).limit(_PAGE)
    this = [key == bindparam(f"this_{key.name}") for key in keys]
    statement = update(table.table).where(*this).values({name: bindparam(name) for name in (*table.covered, MAC)})
    adopted = select(func.count()).select_from(table.table).where(mine, columns.mac.is_not(None))
    async with database.reading() as connection:
        before = last = (await connection.execute(adopted)).scalar_one()  # numbers go on where it was killed
    while True:
        async with database.transaction() as connection:
            rows = (await connection.execute(page)).all()
            sealed = []
            for row in rows:
                last += 1
                values = dict(zip(table.covered, row[:-1], strict=True))
                sealed.append(seal(last, values) | {f"this_{name}": values[name] for name in place})
            if sealed:
                await connection.execute(statement, sealed)
        if len(rows) < _PAGE:
            return last - before
        # From there on: a page that began at the first row again would pass by all that are adopted.
        page = page.where(tuple_(*keys) > tuple_(*(sealed[-1][f"this_{name}"] for name in place)))
