"""Helpers of the tests in this folder."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import strategies as st

from vault.crypto.seal import SubjectKeys, record_aad

VECTORS = json.loads(Path(__file__).with_name("vectors").joinpath("format-1.json").read_text(encoding="utf-8"))

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.uuids()
places = st.tuples(names, ids, names, ids, names)
"""Tenant, subject, collection, record, field."""
plaintexts = st.binary(min_size=1, max_size=200).filter(lambda text: text == text.rstrip())
versions = st.integers(1, 65_535)


def subject_keys(material: bytes = bytes(range(32)), *, version: int = 1) -> SubjectKeys:
    return SubjectKeys({version: AESGCM(material)})


def seal_at(keys: SubjectKeys, where: tuple[str, UUID, str, UUID, str], plaintext: bytes) -> bytes:
    return keys.seal(where[4], plaintext, record_aad(*where[:4]))


def open_at(keys: SubjectKeys, where: tuple[str, UUID, str, UUID, str], sealed: bytes) -> bytes:
    return keys.open(where[4], sealed, record_aad(*where[:4]))


def fixed_random(monkeypatch, value: bytes) -> None:
    """Let the system's random source give ``value`` once."""
    left = [value]

    def once(count: int) -> bytes:
        given = left.pop()
        assert len(given) == count
        return given

    monkeypatch.setattr("os.urandom", once)
