"""Keys that are sealed under keys: the same format as values, each kind under a label of its own.

::

    root key    seals  tenant key     AAD = lp("cdv:tenant-key") lp(tenant) lp(version, 2 bytes)
    root key    seals  tenant secret  AAD = lp("cdv:tenant-secret") lp(tenant) lp(kind) lp(version, 2 bytes)
    tenant key  seals  data key       AAD = lp("cdv:data-key") lp(tenant) lp(subject, 16 bytes)
                                            lp(tenant-key version, 2 bytes) lp(data-key version, 2 bytes)

The key version in the head is the tenant key's version; for the root key it is 0, because a root key is told by its
reference. A label has a colon, which no tenant's name has, so a wrapped key never passes for a value. Keys are 32
bytes and are not padded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.crypto.primitive import Secret, decrypt, encrypt, frame, head
from vault.errors import CannotOpen

if TYPE_CHECKING:
    from uuid import UUID


def tenant_key_context(tenant: str, version: int) -> bytes:
    """Say which tenant key it is: the associated data of its wrapping."""
    return frame(b"cdv:tenant-key", tenant.encode(), _two(version))


def tenant_secret_context(tenant: str, kind: str, version: int) -> bytes:
    """Say which of a tenant's secrets it is: the associated data of its wrapping."""
    return frame(b"cdv:tenant-secret", tenant.encode(), kind.encode(), _two(version))


def data_key_context(tenant: str, subject: UUID, tenant_key_version: int, version: int) -> bytes:
    """Say which data key it is: the associated data of its wrapping."""
    return frame(b"cdv:data-key", tenant.encode(), subject.bytes, _two(tenant_key_version), _two(version))


class WrappingKey(Secret):
    """A key whose only work is to seal other keys: a tenant key, or a root key that lies at hand.

    Args:
        material: 32 bytes.
        version: the tenant key's, 1 to 65,535; 0 for a root key.
    """

    __slots__ = ("_cipher", "_head")

    def __init__(self, material: bytes, version: int = 0) -> None:
        self._cipher = AESGCM(material)
        self._head = head(version)

    def wrap(self, plaintext: bytes, context: bytes) -> bytes:
        """Seal a key, bound to the context that says which key it is."""
        return encrypt(self._cipher, self._head, plaintext, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Open what :meth:`wrap` sealed.

        Raises:
            CannotOpen: for whatever reason.
        """
        if wrapped[:3] != self._head:
            raise CannotOpen
        return decrypt(self._cipher, wrapped, context)


def _two(version: int) -> bytes:
    return version.to_bytes(2, "big")
