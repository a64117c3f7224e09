"""Seals the values of one person, each bound to its place (tenant, subject, collection, record, field).

On top of the format in :mod:`vault.crypto.primitive`::

    AAD       = lp(tenant) lp(subject, 16 bytes) lp(collection) lp(record, 16 bytes) lp(field)
                lp(data-key version, 2 bytes)
    plaintext = canonical JSON (UTF-8) | as many spaces as make its length a multiple of 16 bytes

Names are UTF-8. The JSON never ends in white space, so that the padding can be removed without a length. It hides
lengths: ``true`` is as long as ``false``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.crypto.primitive import FORMAT, FRAMED, PADDING, Secret, decrypt_rows, encrypt, ends, head

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from uuid import UUID

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from vault.crypto.primitive import Cipher
    from vault.ids import RecordId, SubjectId, TenantId

__all__ = ["FORMAT", "SubjectKeys", "open_profiles", "record_aad", "version_of"]

STEP: Final = 16
LATEST_VERSION: Final = 0xFFFF
_WHITE: Final = b" \t\n\r\v\f"
"""What ``bytes.rstrip()`` removes. Without an argument it is twice as fast as ``rstrip(b" ")``."""
_PADDING: Final = tuple(PADDING * count for count in range(STEP))
_SIXTEEN: Final = b"\x00\x10"
_NONE: Final[Mapping[bytes, Cipher]] = {}


def record_aad(tenant: TenantId | str, subject: SubjectId | UUID, collection: str, record: RecordId | UUID) -> bytes:
    """Return the first four parts of the associated data, which bind values to their record. Made once a record.

    Raises:
        ValueError: a name is longer than 65,535 bytes.
    """
    return FRAMED[tenant] + _SIXTEEN + subject.bytes + FRAMED[collection] + _SIXTEEN + record.bytes


def version_of(sealed: bytes) -> int:
    """Return the version of the data key under which a value was sealed."""
    return int.from_bytes(sealed[1:3], "big")


class SubjectKeys(Secret):
    """The opened data keys of one person, in all stored versions.

    Args:
        ciphers: the data keys by version, 1 to 65,535; the highest seals.

    Raises:
        ValueError: there is no key, or a version is out of range.
    """

    __slots__ = ("_newest", "_older", "current_version")

    def __init__(self, ciphers: Mapping[int, AESGCM]) -> None:
        if not ciphers or min(ciphers) < 1 or max(ciphers) > LATEST_VERSION:
            raise ValueError("a person has at least one data key, with versions from 1 to 65,535")
        # The head contains the format version and the key version. Nearly all people have only one version.
        first, *others = sorted(ciphers, reverse=True)
        self.current_version = first
        self._newest = (head(first), ciphers[first], ends(first))
        self._older = {head(version): (head(version), ciphers[version], ends(version)) for version in others} or _NONE

    def seal(self, field: str, plaintext: bytes, place: bytes) -> bytes:
        """Seal one field's value under the current data key.

        Args:
            field: the field's name within its collection.
            plaintext: canonical JSON.
            place: from :func:`record_aad`.

        Raises:
            ValueError: the plaintext is empty or ends in white space, which would be removed with the padding.
        """
        # Padding is removed without a length, so a text that ends like padding would come back shorter.
        if not plaintext or plaintext[-1] in _WHITE:
            raise ValueError("a plaintext is neither empty nor ends in white space")
        padded = plaintext + _PADDING[-len(plaintext) % STEP]
        newest, cipher, after = self._newest
        return encrypt(cipher, newest, padded, place + after[field])

    def open(self, field: str, sealed: bytes, place: bytes) -> bytes:
        """Open one field's value.

        Raises:
            CannotOpen: it does not open; the error is the same for every reason.
        """
        return self.open_all((field,), {field: sealed}, place)[0]

    def open_all(self, fields: Collection[str], sealed: Mapping[str, bytes], place: bytes) -> list[bytes]:
        """Open several values of one record at once.

        Args:
            fields: their names; all of them are in ``sealed``.
            sealed: sealed bytes by field.
            place: from :func:`record_aad`.

        Raises:
            CannotOpen: one of them does not open; then none is returned.
        """
        row = (None, self._newest, self._older, place, [sealed[field] for field in fields])
        return next(decrypt_rows(fields, (row,)))[1]


def throwaway_keys() -> SubjectKeys:
    """Return keys that are stored nowhere, for values that belong to no person and are forgotten at once."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return SubjectKeys({1: AESGCM(AESGCM.generate_key(256))})


def open_profiles(
    fields: Collection[str],
    tenant: TenantId | str,
    collection: str,
    people: Iterable[tuple[SubjectId, SubjectKeys, Collection[bytes]]],
) -> Iterator[tuple[SubjectId, list[bytes]]]:
    """Open the same fields of the profiles of many people. The id of a profile is that of its person.

    Args:
        people: for each person the id, the keys, and the sealed values in the order of ``fields``.

    Yields:
        for each person the id, and the values in the order of ``fields``.

    Raises:
        CannotOpen: a value does not open; then no value of that person is returned, and no person after.
    """
    start, middle = FRAMED[tenant] + _SIXTEEN, FRAMED[collection] + _SIXTEEN
    return decrypt_rows(
        fields,
        (
            (subject, keys._newest, keys._older, start + (record_id := subject.bytes) + middle + record_id, sealed)  # noqa: SLF001 - this file's own class
            for subject, keys, sealed in people
        ),
    )
