"""Adoption: the rows of a vault that is older than MACs get them, once for each tenant, by ``cdv db upgrade``.

What is adopted is trusted as it is: nothing shows whether the vault wrote it. The key store says which tenants are
adopted, so that no row can be brought in by adopting it later. A row without a MAC is refused everywhere.

API keys and tokens of open confirmations go on: their new digest is made of the old one. Sessions end, for half an hour
is all that they last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, select, update

from vault.consent.store import CONFIRMATIONS
from vault.crypto.bearers import keyed_digest
from vault.crypto.row_versions import ADOPTED
from vault.identity.tables import SUBJECT_SESSION
from vault.policy.store import VERSIONS
from vault.principals.store import API_KEYS, PRINCIPALS
from vault.recipients.store import WEBHOOKS
from vault.requests.store import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

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
)
"""What each step adopts. A table is in one step only: what was adopted once must have its MACs since."""


async def adopt(database: Database, keyring: Keyring) -> dict[TenantId, int]:
    """Give MACs to the rows of all tenants that have none; killed and begun again, it adopts what is left.

    Returns:
        the number of rows by tenant, without tenants that were adopted before.
    """
    counts = {}
    for tenant, done in (await keyring.unadopted()).items():
        keys, tokens = await keyring.row_keys(tenant), await keyring.token_key(tenant)
        tables = [each for step in _STEPS[done:] for each in step]
        async with database.transaction() as connection:
            if not done:
                await connection.execute(delete(SUBJECT_SESSION).where(SUBJECT_SESSION.c.tenant_id == tenant))
            counts[tenant] = sum(
                [await _adopt(connection, tenant, table, keys, tokens, change) for table, change in tables]
            )
        await keyring.raise_version(tenant, ADOPTED)
    return counts


async def _adopt(
    connection: AsyncConnection, tenant: TenantId, table: MacedTable, keys: RowKeys, tokens: TokenKey, change: Change
) -> int:
    columns, place = table.table.c, [column.name for column in table.table.primary_key]
    statement = select(*table.columns).where(columns.tenant_id == tenant, columns.mac.is_(None))
    rows = (await connection.execute(statement.order_by(*(columns[name] for name in place)))).all()
    for number, row in enumerate(rows, 1):
        old = dict(zip(table.covered, row[:-1], strict=True))
        this = (columns[name] == old[name] for name in place)
        await connection.execute(update(table.table).where(*this).values(table.seal(keys, change(tokens, number, old))))
    return len(rows)
