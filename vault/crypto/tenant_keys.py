"""One tenant's keys, opened: pure, no database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.crypto import primitive
from vault.crypto.derive import IndexKeys, TokenKey
from vault.crypto.row_mac import RowKeys
from vault.crypto.seal import SubjectKeys
from vault.crypto.signing import PublicKey, SigningKey
from vault.errors import CannotOpen, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from vault.crypto.providers import KeyProvider
    from vault.ids import SubjectId, TenantId

    WrappedTenantKey = tuple[int, str, bytes]
    """Version, root reference, wrapped key."""
    WrappedSecret = tuple[str, int, str, bytes]
    """Kind, version, root reference, wrapped secret."""
    WrappedDataKey = tuple[int, int, bytes]
    """Version, tenant-key version, wrapped key."""
    DataKeyTuple = tuple[str, SubjectId, int, int, bytes, datetime]
    """A whole row of ``data_key``."""

INDEX: Final = "index"
TOKEN: Final = "token"  # noqa: S105 - the name of a kind
AUDIT: Final = "audit"
SIGNING: Final = "signing"
KINDS: Final = (INDEX, TOKEN, AUDIT)
"""Secrets that every tenant has. A tenant made by a program without signatures has no signing key yet."""
_FIRST: Final = 1
WRAPPED: Final = 3 + 12 + primitive.KEY + 16
"""Bytes of a wrapped key: versions, nonce, key and tag."""


class TenantKeys(primitive.Secret):
    """The opened keys and secrets of one tenant.

    Args:
        name: the tenant.
        wrapping: its tenant keys by version; the highest wraps new data keys.
        secrets: its newest secrets by kind, each with its version.
        signing: all its secrets for signatures by version, as old signatures stay valid.
    """

    __slots__ = ("_newest", "_signing", "_wrapping", "audit", "index", "name", "rows", "token")

    def __init__(
        self,
        name: TenantId,
        wrapping: dict[int, primitive.WrappingKey],
        secrets: dict[str, tuple[int, bytes]],
        signing: Mapping[int, bytes] | None = None,
    ) -> None:
        self.name = name
        self._wrapping = wrapping
        self._newest = max(wrapping)
        self.index = IndexKeys(secrets[INDEX][1], version=secrets[INDEX][0])
        self.token = TokenKey(secrets[TOKEN][1], version=secrets[TOKEN][0])
        self.rows = RowKeys(name, secrets[TOKEN][1], version=secrets[TOKEN][0])
        self.audit = TokenKey(secrets[AUDIT][1], version=secrets[AUDIT][0])
        self._signing = [SigningKey(secret, version=version) for version, secret in sorted((signing or {}).items())]

    @property
    def signing(self) -> SigningKey | None:
        """Return the key that signs; None if the tenant has none yet."""
        return self._signing[-1] if self._signing else None

    def public_keys(self) -> list[PublicKey]:
        """List the public halves of all signing keys, the one that signs first."""
        return [PublicKey(key.key_id, key.public, key is self.signing) for key in reversed(self._signing)]

    def knows(self, tenant_key_version: int) -> bool:
        """Return whether this version of the tenant key is loaded; another node may have made a newer one."""
        return tenant_key_version in self._wrapping

    def new_data_key(
        self, subject: SubjectId, created_at: datetime, version: int = _FIRST
    ) -> tuple[SubjectKeys, DataKeyTuple]:
        """Make a person's data key, the first one or a further version, and the row that keeps it."""
        material = os.urandom(primitive.KEY)
        context = primitive.data_key_context(self.name, subject, self._newest, version)
        wrapped = self._wrapping[self._newest].wrap(material, context)
        row = (self.name, subject, version, self._newest, wrapped, created_at)
        return SubjectKeys({version: AESGCM(material)}), row

    def open_data_keys(self, subject: SubjectId, rows: Iterable[WrappedDataKey]) -> SubjectKeys:
        """Open all versions of a person's data key.

        Raises:
            CannotOpen: a row was tampered with, belongs to another person, or names an unknown tenant key.
        """
        return SubjectKeys({row[0]: AESGCM(self._unwrap(subject, *row)) for row in rows})

    def data_keys_in(self, subject: SubjectId, data: bytes, versions: Iterable[int]) -> int:
        """Count the keys of a person in raw bytes, such as a database's file, that still open.

        Every possible position is tried: a wrapped key that was deleted and not overwritten may be anywhere.
        """
        candidates = list(versions)
        count = 0
        # All versions: a destroyed key may have been wrapped before the tenant key was renewed.
        for by in self._wrapping:
            start = data.find(primitive.head(by))
            while start >= 0:
                wrapped = data[start : start + WRAPPED]
                count += sum(self._opens(subject, version, by, wrapped) for version in candidates)
                # On by one byte and not by a key: the head may occur by chance right before a key.
                start = data.find(primitive.head(by), start + 1)
        return count

    def _opens(self, subject: SubjectId, version: int, by: int, wrapped: bytes) -> bool:
        try:
            self._unwrap(subject, version, by, wrapped)
        except CannotOpen:
            return False
        return True

    def _unwrap(self, subject: SubjectId, version: int, by: int, wrapped: bytes) -> bytes:
        try:
            return self._wrapping[by].unwrap(wrapped, primitive.data_key_context(self.name, subject, by, version))
        except (KeyError, OverflowError):  # an unknown version, or one out of range
            raise CannotOpen from None


def new_tenant(
    provider: KeyProvider, tenant: TenantId, created_at: datetime
) -> tuple[tuple[object, ...], list[tuple[object, ...]]]:
    """Make a tenant's first key and secrets: the row of ``tenant_key`` and the rows of ``tenant_secret``."""
    end = (provider.reference,)
    wrapped = provider.wrap(os.urandom(primitive.KEY), primitive.tenant_key_context(tenant, _FIRST))
    secrets = [new_secret(provider, tenant, kind, _FIRST, created_at) for kind in (*KINDS, SIGNING)]
    return (tenant, _FIRST, *end, wrapped, created_at), secrets


def new_secret(
    provider: KeyProvider, tenant: TenantId, kind: str, version: int, created_at: datetime
) -> tuple[object, ...]:
    """Make one secret of a tenant: its row of ``tenant_secret``."""
    sealed = provider.wrap(os.urandom(primitive.KEY), primitive.tenant_secret_context(tenant, kind, version))
    return (tenant, kind, version, provider.reference, sealed, created_at)


def open_tenant(
    provider: KeyProvider, tenant: TenantId, keys: Sequence[WrappedTenantKey], secrets: Sequence[WrappedSecret]
) -> TenantKeys:
    """Open a tenant's rows.

    Raises:
        Misconfigured: they were wrapped by another root key than the provider's, or a secret is missing.
        CannotOpen: a row was tampered with or belongs to another tenant.
    """
    # Before the first unwrap: under another root key every row would fail as if it were forged.
    require_root(provider, [*(row[1] for row in keys), *(row[2] for row in secrets)])
    wrapping = {
        version: primitive.WrappingKey(provider.unwrap(wrapped, primitive.tenant_key_context(tenant, version)), version)
        for version, _root, wrapped in keys
    }
    newest: dict[str, tuple[int, bytes]] = {}
    signing: dict[int, bytes] = {}
    # By version, so that the newest secret of each kind is the last one written to the dict.
    for kind, version, _root, wrapped in sorted(secrets, key=lambda row: row[1]):
        secret = provider.unwrap(wrapped, primitive.tenant_secret_context(tenant, kind, version))
        newest[kind] = (version, secret)
        if kind == SIGNING:
            signing[version] = secret
    if missing := set(KINDS) - set(newest):
        raise Misconfigured(
            f"the key store lacks a tenant's secrets: {', '.join(sorted(missing))}",
            hint="restore the key store from a backup that is whole",
        )
    return TenantKeys(tenant, wrapping, newest, signing)


def require_root(provider: KeyProvider, references: Iterable[str]) -> None:
    """Check that the provider's root key wrapped these rows.

    Raises:
        Misconfigured: another root key did; the hint names its reference.
    """
    if others := sorted(set(references) - {provider.reference}):
        raise Misconfigured(
            "the root key is not the one that this vault was sealed with",
            hint=f"the key store needs {', '.join(others)}; the key given is {provider.reference}",
        )
